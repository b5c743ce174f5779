"""Atomic commit across databases and services."""
