"""Memories from outside: the client's verbs, and commands."""
