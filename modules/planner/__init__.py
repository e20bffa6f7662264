"""Planners: search for actions whose imagined outcome has low energy (Mode-2)."""
