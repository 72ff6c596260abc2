"""Inputs of maps that are too many for one message."""
