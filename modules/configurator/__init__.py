"""Configurators: energy and surprise → the mode and the weights of the cost."""
