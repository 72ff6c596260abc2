"""Routes of flows that are under way."""
