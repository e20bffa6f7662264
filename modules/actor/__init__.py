"""Actor: proposes the action that the world consumes next."""
