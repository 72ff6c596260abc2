"""Cached answers: those of a process, those in Redis, and who asks for one that nobody has."""
