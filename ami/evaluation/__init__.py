"""Sealed manifests, evaluation on them, and the presentation of results."""
