"""One run and one training, and the parts they share: plan, evaluation session, monitor, presentation."""
