"""Answers that may be kept: their keys, a process's memory, and the likeness of questions."""
