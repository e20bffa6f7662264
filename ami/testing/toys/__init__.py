"""Toys: one small world model of each kind that the contract allows, and the world in which they plan."""
