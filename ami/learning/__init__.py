"""Learning: collection, hindsight states, stages, one trainer, checkpoints, probes."""
