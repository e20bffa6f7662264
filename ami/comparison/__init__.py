"""Comparison of variants with paired statistics."""
