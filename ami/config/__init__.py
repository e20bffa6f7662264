"""From `configs/` and overrides to a graph."""
