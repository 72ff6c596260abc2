"""The client: verbs, groups, runs, waiting, and the command line of it."""

from celery_agents.client.client import Client
from celery_agents.client.run import Run

__all__ = ["Client", "Run"]
