"""Replay: re-execute a recorded agent, substitute a module, or fork the run at a tick."""
