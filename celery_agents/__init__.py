"""AI agents whose every step is a durable Celery task.

This package is what other apps install: the client, the contracts, and the ``@agent`` mark. Its
names are imported when they are used, so that importing it loads neither Celery nor Redis.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from celery_agents.actor import actor  # now: the module has the same name
from celery_agents.agent import agent  # as above
from celery_agents.flow import flow  # as above

if TYPE_CHECKING:
    from celery_agents.client.bus.local import LocalTopics
    from celery_agents.client.client import Client
    from celery_agents.client.run import AggregateRun, DecisionRun, MapRun, Run
    from celery_agents.client.swarms.run import BroadcastRun, ConsensusRun, WorkRun
    from celery_agents.client.swarms.swarm import Swarm
    from celery_agents.client.teams.solve import SolveRun
    from celery_agents.client.teams.team import TeamRun
    from celery_agents.contracts.approval import PersonAnswer, Wish
    from celery_agents.contracts.ask import Ask
    from celery_agents.contracts.conversation import Attachment, ChatMessage, Text, ToolUse
    from celery_agents.contracts.events import RunEvent
    from celery_agents.contracts.experience import Experienced, MemoryEffect, TriedWay
    from celery_agents.contracts.fallback import Candidate
    from celery_agents.contracts.flows.actors import ActorInfo, ActorState
    from celery_agents.contracts.flows.entries import StreamEntry, StreamEvent
    from celery_agents.contracts.flows.replicated import ReplicatedInfo, ReplicatedState
    from celery_agents.contracts.flows.subscriptions import (
        StreamLimitsInfo,
        StreamState,
        SubscriptionInfo,
    )
    from celery_agents.contracts.flows.topics import TopicInfo, TopicMessage
    from celery_agents.contracts.flows.workflow import Workflow, WorkflowStep
    from celery_agents.contracts.gather import Aggregate, Gather
    from celery_agents.contracts.governance import Estimate
    from celery_agents.contracts.mapping import Map, MapFailure, MapResult
    from celery_agents.contracts.memory import MemoryRecord
    from celery_agents.contracts.outcome import Answer, ErrorInfo, Outcome, State, Usage
    from celery_agents.contracts.patterns import Fallback, Vote
    from celery_agents.contracts.policies import RetryPolicy
    from celery_agents.contracts.session import SessionExchange, SessionInfo
    from celery_agents.contracts.teams.solve import Solution, Strategy, WorkLessons
    from celery_agents.contracts.teams.spec import AgentSpec
    from celery_agents.contracts.teams.swarm import (
        Broadcast,
        Consensus,
        SwarmFailure,
        SwarmInfo,
        SwarmStatus,
        SwarmWork,
        WorkDone,
    )
    from celery_agents.contracts.teams.team import TeamPart, TeamReport
    from celery_agents.contracts.vote import Ballot, Decision, Voter
    from celery_agents.errors import AgentsError, PermanentError, RetryableError
    from celery_agents.fold import projection, reducer
    from celery_agents.service import (
        ActorContext,
        CallContext,
        Filtered,
        FlowContext,
        FunctionToolset,
        JournalSaver,
        Limited,
        MemoryBackend,
        Needs,
        Outbox,
        Prefixed,
        SearchedSpace,
        StepContext,
        StepDurability,
        Tool,
        ToolError,
        ToolPolicy,
        Toolset,
        ToolSpec,
        Turn,
        durable_client,
        durable_runner,
        tool,
    )

__all__ = [  # noqa: RUF022 - grouped by use
    # enqueue
    "Client",
    "Outbox",
    "Run",
    "DecisionRun",
    "AggregateRun",
    "MapRun",
    "SolveRun",
    "TeamRun",
    "Swarm",
    "BroadcastRun",
    "ConsensusRun",
    "WorkRun",
    "LocalTopics",
    # offer
    "agent",
    "actor",
    "ActorContext",
    "flow",
    "FlowContext",
    "projection",
    "reducer",
    "tool",
    "Tool",
    "ToolError",
    "ToolPolicy",
    "ToolSpec",
    "CallContext",
    "Toolset",
    "FunctionToolset",
    "Prefixed",
    "Filtered",
    "Limited",
    "StepContext",
    "Turn",
    "Needs",
    "durable_client",
    "durable_runner",
    "StepDurability",
    "JournalSaver",
    "MemoryBackend",
    "SearchedSpace",
    # contracts
    "ActorInfo",
    "ActorState",
    "AgentSpec",
    "Aggregate",
    "Answer",
    "Attachment",
    "ChatMessage",
    "Text",
    "ToolUse",
    "SessionExchange",
    "SessionInfo",
    "Ask",
    "Ballot",
    "Broadcast",
    "Candidate",
    "Consensus",
    "Decision",
    "ErrorInfo",
    "Estimate",
    "Fallback",
    "Gather",
    "WorkLessons",
    "Map",
    "MapFailure",
    "MapResult",
    "Experienced",
    "MemoryEffect",
    "MemoryRecord",
    "TriedWay",
    "Outcome",
    "PersonAnswer",
    "ReplicatedInfo",
    "ReplicatedState",
    "RetryPolicy",
    "RunEvent",
    "Solution",
    "State",
    "Strategy",
    "StreamEntry",
    "StreamEvent",
    "StreamLimitsInfo",
    "StreamState",
    "SubscriptionInfo",
    "SwarmFailure",
    "SwarmInfo",
    "SwarmStatus",
    "SwarmWork",
    "TeamPart",
    "TeamReport",
    "TopicInfo",
    "TopicMessage",
    "Usage",
    "Vote",
    "Voter",
    "Wish",
    "Workflow",
    "WorkDone",
    "WorkflowStep",
    # errors
    "AgentsError",
    "PermanentError",
    "RetryableError",
]

#: Where the names are; tests hold it against the imports above.
_MODULES = {
    "celery_agents.client.bus.local": ("LocalTopics",),
    "celery_agents.client.client": ("Client",),
    "celery_agents.client.run": ("AggregateRun", "DecisionRun", "MapRun", "Run"),
    "celery_agents.client.swarms.run": ("BroadcastRun", "ConsensusRun", "WorkRun"),
    "celery_agents.client.swarms.swarm": ("Swarm",),
    "celery_agents.client.teams.solve": ("SolveRun",),
    "celery_agents.client.teams.team": ("TeamRun",),
    "celery_agents.contracts.approval": ("PersonAnswer", "Wish"),
    "celery_agents.contracts.ask": ("Ask",),
    "celery_agents.contracts.conversation": ("Attachment", "ChatMessage", "Text", "ToolUse"),
    "celery_agents.contracts.events": ("RunEvent",),
    "celery_agents.contracts.fallback": ("Candidate",),
    "celery_agents.contracts.flows.actors": ("ActorInfo", "ActorState"),
    "celery_agents.contracts.flows.entries": ("StreamEntry", "StreamEvent"),
    "celery_agents.contracts.flows.replicated": ("ReplicatedInfo", "ReplicatedState"),
    "celery_agents.contracts.flows.subscriptions": (
        "StreamLimitsInfo",
        "StreamState",
        "SubscriptionInfo",
    ),
    "celery_agents.contracts.flows.topics": ("TopicInfo", "TopicMessage"),
    "celery_agents.contracts.flows.workflow": ("Workflow", "WorkflowStep"),
    "celery_agents.contracts.experience": ("Experienced", "MemoryEffect", "TriedWay"),
    "celery_agents.contracts.gather": ("Aggregate", "Gather"),
    "celery_agents.contracts.governance": ("Estimate",),
    "celery_agents.contracts.mapping": ("Map", "MapFailure", "MapResult"),
    "celery_agents.contracts.memory": ("MemoryRecord",),
    "celery_agents.contracts.outcome": ("Answer", "ErrorInfo", "Outcome", "State", "Usage"),
    "celery_agents.contracts.patterns": ("Fallback", "Vote"),
    "celery_agents.contracts.policies": ("RetryPolicy",),
    "celery_agents.contracts.session": ("SessionExchange", "SessionInfo"),
    "celery_agents.contracts.teams.solve": ("WorkLessons", "Solution", "Strategy"),
    "celery_agents.contracts.teams.spec": ("AgentSpec",),
    "celery_agents.contracts.teams.swarm": (
        "Broadcast",
        "Consensus",
        "SwarmFailure",
        "SwarmInfo",
        "SwarmStatus",
        "SwarmWork",
        "WorkDone",
    ),
    "celery_agents.contracts.teams.team": ("TeamPart", "TeamReport"),
    "celery_agents.contracts.vote": ("Ballot", "Decision", "Voter"),
    "celery_agents.fold": ("projection", "reducer"),
    "celery_agents.errors": ("AgentsError", "PermanentError", "RetryableError"),
    # what authors of agents need of the service's packages
    "celery_agents.service": (
        "ActorContext",
        "CallContext",
        "Filtered",
        "FlowContext",
        "FunctionToolset",
        "JournalSaver",
        "Limited",
        "MemoryBackend",
        "Needs",
        "Outbox",
        "Prefixed",
        "SearchedSpace",
        "StepContext",
        "StepDurability",
        "Tool",
        "ToolError",
        "ToolPolicy",
        "ToolSpec",
        "Toolset",
        "Turn",
        "durable_client",
        "durable_runner",
        "tool",
    ),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a name on its first use."""
    if (home := _HOMES.get(name)) is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
