"""Actors: state, goal and plan → action."""
