"""Saved agents: their file, their export, and how one acts in a gymnasium loop."""
