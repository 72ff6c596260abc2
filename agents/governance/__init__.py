"""Decisions about how much may be used, as pure functions of values and time."""
