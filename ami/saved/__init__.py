"""Saved agents: their file, their export, and their use in a gymnasium loop."""
