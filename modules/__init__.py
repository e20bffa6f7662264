"""The swappable parts of a mind, one folder per role."""
