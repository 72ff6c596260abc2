"""The test kit: what tests of agents import; pytest's fixtures come by themselves.

See docs/testing.md. Each name is imported when it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celery_agents.service import (
        AgentScript,
        AgentsStack,
        AgentTester,
        FlowTester,
        OrchestratorTester,
        Scripted,
        ballots,
        running_stack,
    )

__all__ = [
    "AgentScript",
    "AgentTester",
    "AgentsStack",
    "FlowTester",
    "OrchestratorTester",
    "Scripted",
    "ballots",
    "running_stack",
]


def __getattr__(name: str) -> Any:
    """A name of the kit, from the service's packages.

    Raises:
        ImportError: the extra ``worker`` is not installed.
    """
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from celery_agents import service

    return getattr(service, name)
