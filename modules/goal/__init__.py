"""Goals: goal observation → goal state."""
