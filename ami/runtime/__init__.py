"""Where an agent's modules live: `local`, one process, or `ray`, actors."""
