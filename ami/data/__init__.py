"""Data: recorded episodes to learn from, in memory and in files."""
