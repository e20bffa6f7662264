"""Gymnasium environments as the world node of an agent."""
