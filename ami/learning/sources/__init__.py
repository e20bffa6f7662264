"""Sources: the batches that a stage learns from, a class per kind of data, chosen in the configuration."""
