"""AI agents whose every step is a durable Celery task.

This package is what other apps install: the client, the contracts, and the ``@agent`` mark.
"""

from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from celery_agents.service import StepContext, Tool, Turn, tool

__all__ = [  # noqa: RUF022 - grouped by use
    # enqueue
    "Client",
    "Run",
    "DecisionRun",
    "AggregateRun",
    "MapRun",
    # offer
    "agent",
    "tool",
    "Tool",
    "StepContext",
    "Turn",
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


def __getattr__(name: str) -> Any:
    """What authors of agents need of the service's packages, loaded when it is first used."""
    if name not in {"tool", "Tool", "StepContext", "Turn"}:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from celery_agents import service

    return getattr(service, name)
