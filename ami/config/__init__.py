"""Configuration: from `configs/` and overrides to a graph."""
