"""Entries of agents.toml: one table an agent, its ``kind`` says which fields it has.

[agents.gpt]
kind = "openai"
model = "gpt-5-mini"

[agents.greeter]
kind = "function"
function = "my_app.agents:greet"
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from agents.governance.routing import By
from agents.kinds.http import HttpConfig
from agents.kinds.scripted import ScriptedConfig
from agents.models.config import ModelConfig, Price
from agents.policies.breaker import BreakerPolicy
from agents.tools.policy import Approve
from celery_agents.agent import Effects
from celery_agents.contracts.base import Contract, HttpUrl, Name, Seconds, SecretName
from celery_agents.contracts.caching import GivenCache
from celery_agents.contracts.compensation import Compensation
from celery_agents.contracts.fallback import Adaptive
from celery_agents.contracts.window import GivenWindow


def _result_url(value: str) -> str:
    scheme, separator, _ = value.partition("://")
    if not separator:
        raise ValueError("it has to be a URL of a result backend, as redis://host:6379/1")
    if scheme in {"rpc", "amqp", "disabled", "cache+memory"}:
        raise ValueError(f"results in {scheme}:// can be read by nobody else")
    return value


#: A URL of a result backend that several apps can read.
ResultUrl = Annotated[str, Field(max_length=2000), AfterValidator(_result_url)]


class Described(Contract):
    """The fields of every entry."""

    kind: str
    description: str = ""
    effects: Effects = "idempotent"
    #: The agent that answers while this one is unhealthy or its breaker is open.
    backup: Name | None = None
    #: The agent that undoes what this one did, when the run of its step fails.
    compensation: Compensation | None = None
    #: When it is left alone; by default agents outside this process have one. ``false``: never.
    breaker: BreakerPolicy | Literal[False] | None = None
    #: A question that is really asked at each health check, and paid like any other.
    probe: Name | None = None
    #: How much of a conversation it is told; without it, all.
    window: GivenWindow | None = None

    @property
    def problem(self) -> str | None:
        """Why no agent can be made of it: its kind is a plug-in's that cannot be used."""
        return None


class FunctionEntry(Described):
    """A Python function, as ``module:function``."""

    kind: Literal["function"]
    function: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")]
    cache: GivenCache | None = None


class ModelEntry(Described, ModelConfig):
    """A language model. ``kind`` is its provider; ``base_url`` names any compatible server."""

    provider: Name = "openai"  # follows from kind
    #: Memories of the configuration, for which it gets tools: remember, recall, forget.
    memory: Annotated[tuple[Name, ...], Field(max_length=20)] = ()
    #: Asked with GET at each health check; otherwise it is enough that the host takes connections.
    health_url: HttpUrl | None = None

    @model_validator(mode="before")
    @classmethod
    def _provider(cls, table: Any) -> Any:
        return {**table, "provider": table.get("kind")} if isinstance(table, dict) else table


class ToolsEntry(Described):
    """Tools that are called by themselves, without a model."""

    kind: Literal["tools"]
    tools: Annotated[tuple[str, ...], Field(min_length=1, max_length=100)]
    #: As of models: whether a person is asked before a call, by patterns of names.
    approve: dict[str, Approve] = Field(default_factory=dict)
    #: Patterns of tools that take so long that nobody waits for them in one request.
    as_tasks: Annotated[tuple[str, ...], Field(max_length=100)] = ()


class HttpEntry(Described, HttpConfig):
    """An HTTP service."""

    kind: Literal["http"]
    health_url: HttpUrl | None = None  # as for models
    cache: GivenCache | None = None


class CeleryEntry(Described):
    """A task of any Celery app on the same broker, in its own environment."""

    kind: Literal["celery"]
    task: Name
    queue: Name
    #: The task is asked again, under the same id, when no result came in this time.
    result_timeout_s: Seconds = 600.0
    #: Where its app keeps results, if elsewhere than this service; or the name of the variable in
    #: the worker's environment that says it, where that holds a password.
    result_url: ResultUrl | None = None
    result_url_env: SecretName | None = None
    #: A task that runs when its step is cancelled is ended, too, where its pool can do that.
    terminate: bool = False

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.result_url is not None and self.result_url_env is not None:
            raise ValueError("result_url and result_url_env say the same; give one")
        return self


class PydanticAIEntry(Described):
    """An agent of pydantic-ai, as ``module:name``."""

    kind: Literal["pydantic_ai"]
    agent: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")]


class LangGraphEntry(Described):
    """A graph of LangGraph, as ``module:name``."""

    kind: Literal["langgraph"]
    agent: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")]


class OpenAIAgentsEntry(Described):
    """An agent of OpenAI's Agents SDK, as ``module:name``."""

    kind: Literal["openai_agents"]
    agent: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")]
    #: Of its models, and those of agents that it hands over to, where nobody knows it.
    price: Price | None = None
    #: Requests to models in one run of it; the SDK's own number where none is given.
    max_turns: Annotated[int, Field(ge=1, le=1000)] | None = None


class RouterEntry(Described):
    """One of several agents that answers: whichever is best and free."""

    kind: Literal["router"]
    among: Annotated[tuple[Name, ...], Field(min_length=1, max_length=50)]
    by: By = "load"
    #: What belongs to one session or run goes to the same one, for its provider's cache.
    sticky: bool = True
    #: By ``learned``: what counts as a good answer.
    adaptive: Adaptive = Adaptive()

    @model_validator(mode="after")
    def _asks_nothing(self) -> Self:
        if self.probe is not None or self.breaker is not None:
            raise ValueError("probe and breaker are of the agents that it has")
        return self


class ScriptedEntry(Described, ScriptedConfig):
    """A deterministic agent, for tests."""

    kind: Literal["scripted"]
