"""Choosing, by pure functions, how much agents are told of what was said before."""
