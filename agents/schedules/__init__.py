"""Schedules: their slots, and what becomes of one that is due, as pure functions."""
