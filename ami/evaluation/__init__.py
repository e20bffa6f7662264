"""Sealed manifests, evaluation on them, and what the results look like."""
