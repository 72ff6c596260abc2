"""Measurements. Each prints a table and one line of JSON; none decides whether a test passes."""
