"""The swappable modules of an agent, one folder per role."""
