"""Callbacks: figures computed during learning from held-out episodes, a class per figure, chosen in the configuration."""
