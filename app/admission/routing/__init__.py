"""Routers: which of several deployments answers a turn."""
