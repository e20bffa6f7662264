"""Replay: a recorded mind executed anew, with another module in it, or let go on differently."""
