"""Terminal output: progress bars, notes, tables, and safe text."""
