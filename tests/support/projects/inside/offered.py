"""Agents of the project."""

from agents import OWNER
from celery_agents import agent


@agent
def whose(_: str) -> str:
    """Tell whose package ``agents`` is."""
    return OWNER
