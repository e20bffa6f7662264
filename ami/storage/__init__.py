"""Atomic writes, safe reads of untrusted files, hashes of code, and the store of runs."""
