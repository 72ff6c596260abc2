"""Inputs of maps that came in pages, before the run of which they are."""
