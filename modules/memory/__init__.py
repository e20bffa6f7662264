"""Memory: keeps past states with their energies and answers queries softly."""
