"""Swarms: agents that are told the same, agree, and share work."""
