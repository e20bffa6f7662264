"""Runtimes of an agent's modules: `local`, one process, or `ray`, actors."""
