"""Limits: what a request takes of them, waiting for that, and how they stand."""
