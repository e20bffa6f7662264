"""MLflow: runs, traces, its database and its pages."""
