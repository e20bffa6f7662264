"""World models: percept → state, imagined rollouts, and a distance between states (paper, sections 3 and 4)."""
