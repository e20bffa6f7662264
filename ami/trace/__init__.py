"""The record: a log of every invocation, written while it runs, and read again. docs/traces.md describes it."""
