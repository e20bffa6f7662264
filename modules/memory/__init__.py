"""Memories: keep past states with their energies; soft recall of similar ones."""
