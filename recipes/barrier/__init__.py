"""Barriers: a gate, a gate with a count, and rounds that all enter and leave together."""
