"""Policies as pure functions of values and time."""
