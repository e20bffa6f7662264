"""Perceptions: observation → percept, what is seen now (paper, section 3). `encode` is the one method to write."""
