"""Actors as a client tells them something, asks them, and looks at them."""
