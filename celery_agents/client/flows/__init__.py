"""Flows and streams, as a client asks for them."""
