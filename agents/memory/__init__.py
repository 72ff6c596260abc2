"""What agents are told of what was said before, decided by pure functions."""
