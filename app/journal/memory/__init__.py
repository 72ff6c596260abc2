"""Spaces of memories: what stands in them, and what is found there."""
