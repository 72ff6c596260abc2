"""The service: ``celery -A celery_agents.service worker``, and ``install`` for another Celery app.

In a checkout its packages (``app``, ``agents``, ``tasks``, …) stand at the top level. The build of
the wheel places them here and rewrites their imports (deploy/wheel.py), so that it can be installed
beside packages and projects that have these names. Nothing is loaded before it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celery import Celery

    from agents.actors.context import ActorContext
    from agents.base import StepContext, Turn
    from agents.catalog.entries import Described
    from agents.catalog.kinds import Kind, Made, Resources
    from agents.flows.run import FlowContext
    from agents.frameworks.clients import durable_client
    from agents.frameworks.pydantic_ai import StepDurability
    from agents.frameworks.runners import durable_runner
    from agents.memory.backends import MemoryBackend, SearchedSpace
    from agents.needs import Needs
    from agents.plan import Expand, Member
    from agents.tools import (
        CallContext,
        Filtered,
        FunctionToolset,
        Limited,
        Prefixed,
        Tool,
        ToolError,
        ToolPolicy,
        Toolset,
        ToolSpec,
        tool,
    )
    from app.embedding import install
    from app.execution.context import Step
    from app.execution.task import StepTask
    from app.journal.outbox import Outbox
    from app.pool import CoroutinePool
    from app.saver import JournalSaver
    from app.testing.orchestrators import FlowTester, OrchestratorTester
    from app.testing.scripted import AgentScript, Scripted
    from app.testing.stack import AgentsStack, running_stack
    from app.testing.strategies import ballots
    from app.testing.tester import AgentTester

    celery: Celery

__all__ = [
    "ActorContext",
    "AgentScript",
    "AgentTester",
    "AgentsStack",
    "CallContext",
    "CoroutinePool",
    "Described",
    "Expand",
    "Filtered",
    "FlowContext",
    "FlowTester",
    "FunctionToolset",
    "JournalSaver",
    "Kind",
    "Limited",
    "Made",
    "Member",
    "MemoryBackend",
    "Needs",
    "OrchestratorTester",
    "Outbox",
    "Prefixed",
    "Resources",
    "Scripted",
    "SearchedSpace",
    "Step",
    "StepContext",
    "StepDurability",
    "StepTask",
    "Tool",
    "ToolError",
    "ToolPolicy",
    "ToolSpec",
    "Toolset",
    "Turn",
    "ballots",
    "celery",
    "durable_client",
    "durable_runner",
    "install",
    "running_stack",
    "tool",
]

#: Where each name comes from.
_SOURCES = {
    "celery": "app",
    "install": "app.embedding",
    "CoroutinePool": "app.pool",
    # for packages with kinds and patterns of their own
    "Described": "agents.catalog.entries",
    "Kind": "agents.catalog.kinds",
    "Made": "agents.catalog.kinds",
    "Resources": "agents.catalog.kinds",
    "Expand": "agents.plan",
    "Member": "agents.plan",
    "Step": "app.execution.context",
    "StepTask": "app.execution.task",
    "Outbox": "app.journal.outbox",
    # for agents; celery_agents has them too
    "StepContext": "agents.base",
    "Needs": "agents.needs",
    "ActorContext": "agents.actors.context",
    "FlowContext": "agents.flows.run",
    "Turn": "agents.base",
    "durable_client": "agents.frameworks.clients",
    "durable_runner": "agents.frameworks.runners",
    "StepDurability": "agents.frameworks.pydantic_ai",
    "JournalSaver": "app.saver",
    "MemoryBackend": "agents.memory.backends",
    "SearchedSpace": "agents.memory.backends",
    "CallContext": "agents.tools",
    "Filtered": "agents.tools",
    "FunctionToolset": "agents.tools",
    "Limited": "agents.tools",
    "Prefixed": "agents.tools",
    "Tool": "agents.tools",
    "ToolError": "agents.tools",
    "ToolPolicy": "agents.tools",
    "ToolSpec": "agents.tools",
    "Toolset": "agents.tools",
    "tool": "agents.tools",
    # for tests; celery_agents.testing has them too
    "AgentScript": "app.testing.scripted",
    "Scripted": "app.testing.scripted",
    "FlowTester": "app.testing.orchestrators",
    "OrchestratorTester": "app.testing.orchestrators",
    "ballots": "app.testing.strategies",
    "AgentTester": "app.testing.tester",
    "AgentsStack": "app.testing.stack",
    "running_stack": "app.testing.stack",
}


def __getattr__(name: str) -> Any:
    """A name of the service, from its module.

    Raises:
        ImportError: the extra ``worker`` is not installed.
    """
    if (source := _SOURCES.get(name)) is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from app.layout import qualified

    try:
        return getattr(import_module(qualified(source)), name)
    except ModuleNotFoundError as error:
        need = "Install the service's own packages: pip install 'celery-agents[worker]'"
        raise ImportError(f"{__name__}.{name} needs {error.name!r}. {need}") from error
