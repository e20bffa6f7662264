"""Perceptions: observation → percept (paper, section 3). A subclass implements `encode`."""
