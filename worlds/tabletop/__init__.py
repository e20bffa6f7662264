"""A table seen from above: a gripper, objects that are pushed and carried, a plate, and goals given as pictures."""
