"""Learning: experience, memories, stages, one trainer, checkpoints, probes."""
