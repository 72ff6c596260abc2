"""The HTTP API: runs, agents and sessions for every language, over the client and the journal."""
