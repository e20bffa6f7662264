"""The log of every invocation, and what can be made of it."""
