"""The message graph: wiring, specs, shapes and partition, checked before tick 0."""
