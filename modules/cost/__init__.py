"""Costs: state → energy; a weighted sum of immutable intrinsic terms and of critics that learn."""
