"""Streams over HTTP: their events, who is served with them, and topics."""
