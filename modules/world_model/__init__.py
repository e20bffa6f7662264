"""World models: percept → state, imagined futures, and how far two states are apart (paper, sections 3 and 4)."""
