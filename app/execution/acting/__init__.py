"""Actors in the service: what they hear, whom they wake, how messages come to them."""
