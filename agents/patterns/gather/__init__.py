"""Gather: all members, one answer put together."""
