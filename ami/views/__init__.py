"""Projections of a trace: terminal, HTML viewer, Perfetto, OpenTelemetry, Parquet."""
