"""Learning: experience, hindsight states, stages, one trainer, checkpoints, probes."""
