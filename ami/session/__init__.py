"""`ami run` and `ami train`, and the parts they share: plan, dry run, monitor, validation, presentation."""
