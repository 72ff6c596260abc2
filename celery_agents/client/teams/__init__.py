"""Verbs that choose whom to ask as a task needs it."""
