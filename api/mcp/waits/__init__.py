"""Waits of runs that a client of MCP is asked about."""
