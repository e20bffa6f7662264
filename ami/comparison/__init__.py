"""Variants side by side, with honest statistics."""
