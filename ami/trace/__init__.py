"""The trace: a log of every invocation, written during the run, and its readers. See docs/traces.md."""
