"""Goal: turns what is wanted into a state to be near to."""
