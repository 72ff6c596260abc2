"""AI agents whose every step is a durable Celery task.

This package is what other apps install: the client, the contracts, and the ``@agent`` mark.
"""

from celery_agents.agent import agent
from celery_agents.client.client import Client
from celery_agents.client.run import AggregateRun, DecisionRun, MapRun, Run
from celery_agents.contracts.ask import Ask
from celery_agents.contracts.fallback import Candidate
from celery_agents.contracts.gather import Aggregate, Gather
from celery_agents.contracts.mapping import Map, MapFailure, MapResult
from celery_agents.contracts.outcome import Answer, ErrorInfo, Outcome, State, Usage
from celery_agents.contracts.patterns import Fallback, Vote
from celery_agents.contracts.policies import RetryPolicy
from celery_agents.contracts.vote import Ballot, Decision, Voter
from celery_agents.errors import AgentsError, PermanentError, RetryableError

__all__ = [  # noqa: RUF022 - grouped by use
    # enqueue
    "Client",
    "Run",
    "DecisionRun",
    "AggregateRun",
    "MapRun",
    # offer
    "agent",
    # contracts
    "Aggregate",
    "Answer",
    "Ask",
    "Ballot",
    "Candidate",
    "Decision",
    "ErrorInfo",
    "Fallback",
    "Gather",
    "Map",
    "MapFailure",
    "MapResult",
    "Outcome",
    "RetryPolicy",
    "State",
    "Usage",
    "Vote",
    "Voter",
    # errors
    "AgentsError",
    "PermanentError",
    "RetryableError",
]
