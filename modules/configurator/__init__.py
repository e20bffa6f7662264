"""Configurator: sets the mode and the weights of the cost."""
