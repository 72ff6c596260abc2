"""Toolsets that a configuration names: their kinds, what they pin, and the built-in tools."""
