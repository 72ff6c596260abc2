"""The interface of every kind of agent: one question in, one answer out.

A backend is the kind (a Python function, a model provider, an HTTP service, another app's Celery
task); an agent is a named entry of one kind. Backends run as coroutines on the worker's loop.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, Protocol, runtime_checkable

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from agents import personality
from agents.caching.cacheable import Cacheable
from agents.graphs import GraphLines
from agents.needs import Expect, Weight
from agents.plan import Expand
from celery_agents.contracts.ask import Ask
from celery_agents.contracts.base import Contract, JsonValue, TrustedJson
from celery_agents.contracts.conversation import ChatMessage
from celery_agents.contracts.events import EventType
from celery_agents.contracts.experience import TriedWay
from celery_agents.contracts.governance import Estimate
from celery_agents.contracts.memory import RECALL_TOKENS, MemoryRecord, Trust
from celery_agents.contracts.outcome import Answer, Outcome, Usage
from celery_agents.contracts.teams.spec import AgentSpec

__all__ = ["Answer", "Backend", "StepContext", "Turn", "Usage"]


class Turn(Contract):
    """A question to an agent: its input and the form that the answer must have."""

    input: TrustedJson
    #: The conversation before the input; where that is None, all of it.
    messages: tuple[ChatMessage, ...] = ()
    #: Instructions of the caller, beside the agent's own.
    instructions: str | None = None
    #: The answer must be one of these options (a ballot).
    choices: Annotated[tuple[str, ...], Field(max_length=1000)] | None = None
    #: The answer must be JSON of this schema.
    answer_schema: dict[str, TrustedJson] | None = None
    #: Names of tools that may be used; None: all that the agent has.
    tools: tuple[str, ...] | None = None
    #: Agents that it may ask for this turn, beside its own.
    team: tuple[AgentSpec, ...] = ()

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what no spec gave: digests of turns are those of earlier versions."""
        told: dict[str, Any] = handler(self)
        if self.tools is None:
            told.pop("tools", None)
        if not self.team:
            told.pop("team", None)
        return told


def turn_of(request: Ask, messages: tuple[ChatMessage, ...]) -> Turn:
    """The turn that a request asks for, with the conversation before it."""
    spec = request.spec
    return Turn(
        input=request.input,
        messages=messages,
        instructions=_instructions(request),
        choices=request.choices,
        answer_schema=request.answer_schema,
        **({} if spec is None else {"tools": spec.tools, "team": spec.members}),
    )


class StepMemory(Protocol):
    """A memory as the code of a step uses it.

    What it keeps or lets go is written in the transaction that ends the step with success; within
    the run it is seen from then on, by others once the run has succeeded. A step that fails has
    changed nothing.
    """

    def remember(
        self,
        text: str,
        *,
        importance: float = 1.0,
        replaces: str | None = None,
        about: Sequence[str] = (),
        caused_by: Sequence[str] = (),
        vouched: bool = False,
    ) -> str:
        """Keep a text; returns its id, which is the same in each attempt.

        ``replaces`` is the id of a memory that holds no more then. It stays, as one that is over.
        ``about`` and ``caused_by`` are ids of memories that it is linked with; a memory with
        ``backend = "graph"`` finds one by the other.
        ``vouched``: somebody stands for it, whatever the run has read.

        Raises:
            InvalidPayloadError: the text is empty or too long.
            BlockedError: the run has read what others wrote, and ``write_untrusted`` is "deny".
            PayloadTooLargeError: the whole space has no room for it.
        """
        ...

    def forget(self, memory: str, *, vouched: bool = False) -> None:
        """Let a memory hold no more, by its id. To erase a text is for people (``agents.memory``).

        Raises:
            InvalidPayloadError: that is no id.
            BlockedError: as above.
        """
        ...

    async def recall(
        self, question: str, *, tokens: int = RECALL_TOKENS, trust: Trust = 1
    ) -> list[MemoryRecord]:
        """Recall what fits a question best, within so many tokens; the same in each attempt.

        With what this step, and ended ones of this run, have kept. ``trust``: only what is trusted
        that much. What is to stand among instructions has 2 at least: what has 1 was learned by a
        run that had read what others wrote.

        Raises:
            InvalidPayloadError: the question is empty or too long.
        """
        ...

    async def look(
        self, question: str, *, tokens: int = RECALL_TOKENS, trust: Trust = 1
    ) -> list[MemoryRecord]:
        """Recall the same without a journaled call: for the code of one. Raises as above."""
        ...


def _instructions(request: Ask) -> str | None:
    """The instructions of a request, those of its spec first."""
    spec = request.spec
    if spec is None:
        return request.instructions
    manner = personality.instructions(spec.traits, None)
    parts = (spec.instructions, manner, request.instructions)
    return "\n\n".join(part for part in parts if part) or None


class StepContext(Protocol):
    """The step in which an agent answers, as the agent sees it."""

    @property
    def step_id(self) -> str:
        """The id of the step."""
        ...

    @property
    def run_id(self) -> str:
        """The id of the run that the step belongs to."""
        ...

    @property
    def attempt(self) -> int:
        """From 1; above 1 when the step was tried before."""
        ...

    @property
    def tries(self) -> int:
        """From 1; as ``attempt``, with the times that it was refused or given back counted too."""
        ...

    @property
    def spent(self) -> Usage:
        """The usage of its calls up to now, those of earlier attempts among them."""
        ...

    async def spent_in_all(self) -> Usage:
        """The usage of its calls, with those of earlier attempts that need no asking again.

        For agents that know by themselves how far an earlier attempt came.
        """
        ...

    async def call(
        self,
        name: str,
        perform: Callable[[str], Awaitable[Answer]] | Callable[..., Any],
        *,
        fingerprint: str = "",
        once: bool = False,
        expect: Expect | None = None,
        cache: Cacheable | None = None,
    ) -> Answer:
        """Make one paid or outside act, journaled.

        ``perform`` receives the call's idempotency key, if it takes an argument. It gives an
        Answer, or a value that has a JSON form, and may be async or not: a plain function runs in a
        thread. A call that finished in an earlier attempt of this step is not made again: its
        journaled answer is returned.

        A call is the same in each attempt, with the same key, if it has the same name and
        ``fingerprint`` (a digest of the request), stands within the same call, and is the
        how-manieth of that. Its place among others does not matter.

        ``expect`` says what tokens a request to a model will take: with it the call is one that
        limits count, and waits for its turn there. ``cache`` says under what its answer may be
        known already, to whoever asked the same before.

        With ``once`` it is not made again either where an attempt began it and never told how it
        went.

        Raises:
            AwaitsAnswerError: another step asks the same just now, and its answer is waited for.
            UncertainCallError: that is so; its details say when, and under which key.
            AnswerTooLargeError: it answered more than ``answer_limit_bytes``; that is not kept.
            AgentFailedError: the name or the fingerprint is none that the journal takes.
        """
        ...

    async def made(
        self, name: str, *, fingerprint: str = "", once: bool = False, after: int = 0
    ) -> bool:
        """Return whether an earlier attempt has made a call, so that ``call`` would not make it.

        ``after``: so many of the same calls are to be made before it.
        """
        ...

    async def distrust(self) -> None:
        """Take note that the run has read what others wrote: what it remembers is trusted less."""
        ...

    async def untrusted(self, about: str) -> bool:
        """Return whether the run has; of one ``about`` the same in each attempt."""
        ...

    @property
    def ways(self) -> Sequence[TriedWay]:
        """The tools and agents that its agent used where the like was asked, the best first.

        Of an agent that a memory ``learns_from``; nothing of a run that is held out.
        """
        ...

    def did(self, name: str) -> None:
        """Take note of a tool, or of another way, that it used: tools of models are noted so."""
        ...

    async def ask(
        self,
        agent: str | AgentSpec,
        input: JsonValue = None,  # noqa: A002 - as callers write it
        **options: Any,
    ) -> Any:
        """Ask another agent, or one narrowed for this task; give its value.

        Its turn is a member of this step: a step of its own, with retries and cost of its own,
        which is not asked again when this one is tried again. ``options`` are those of
        ``agents.ask``; with ``answer`` the value is an instance of that type.

        While it has not ended, this step holds no slot: its code is cancelled where it waits, once
        all of its calls have ended, and runs from the start again with the answer. Several at once,
        by ``asyncio.gather``, run side by side. An answer is found by what was asked, and by the
        how-manieth time.

        Raises:
            AgentFailedError: the agent failed; ``details["error"]`` tells how.
            InvalidPayloadError: an option is wrong.
            ConfigurationError: the agent has effects, and the one that asks says that it has none.
        """
        ...

    async def answered(self) -> Mapping[str, Outcome]:
        """The members of this step that have ended, by their keys; wishes that people answered."""
        ...

    @property
    def graphs(self) -> GraphLines:
        """The threads that graphs have in the journal, of this run's tenant, for this claim."""
        ...

    def memory(self, name: str) -> StepMemory:
        """A memory of the configuration, in the space that the run's scope names.

        Raises:
            ConfigurationError: there is none of that name.
            InvalidPayloadError: the scope lacks a value for which its space has a place.
        """
        ...

    @property
    def streamed(self) -> bool:
        """True when somebody asked to watch the run while it works."""
        ...

    def say(self, text: str) -> None:
        """Tell watchers of the run (``run.events``) a piece of the answer's text; see ``tell``."""
        ...

    def tell(self, kind: EventType, **data: JsonValue) -> None:
        """Tell them an event. Of a run that nobody asked to watch, nothing. Never fails a step."""
        ...

    def emit(
        self, stream: str, kind: str, data: Mapping[str, JsonValue], *, key: str | None = None
    ) -> None:
        """Add an entry to a stream (``agents.streams``) when this step succeeds.

        In the transaction of its end: the answer and the entry are there together, or neither is.
        What a failed attempt wanted to add is dropped. Of one kind and ``key`` a stream has one
        entry.

        Raises:
            InvalidPayloadError: the name is none, or one of the service's own; or the data are.
            PayloadTooLargeError: the data are above ``payload_limit_bytes``.
            BlockedError: a guard of the agent does not let it pass; nothing is added.
        """
        ...

    async def progress(self, **fields: JsonValue) -> None:
        """Tell watchers (Flower's events, ``status``) how far the step is. Never fails a step.

        Raises:
            BlockedError: but where a guard of the agent does not let it pass; nothing is told.
        """
        ...


class Backend(Protocol):
    """One kind of agent, configured."""

    async def answer(self, turn: Turn, step: StepContext) -> Answer | Outcome | Expand:
        """Answer one turn, or say which members the step has to wait for first.

        An outcome is that of another agent, which it names, and which answered in its place.

        Raises:
            RetryableError: it may work later.
            PermanentError: it will not. Nothing of an SDK's own is raised.
        """
        ...

    async def aclose(self) -> None:
        """Free what the backend holds (its SDK client); called once, when the worker stops."""
        ...


@runtime_checkable
class Estimates(Protocol):
    """A backend that knows beforehand what a turn will take."""

    async def estimate(self, agent: str, turn: Turn) -> Estimate:
        """Estimate the first request of a turn of the agent of that name; nothing is asked."""
        ...


@runtime_checkable
class Weighs(Protocol):
    """A backend that is one of several to be chosen from, and says what a turn is for it."""

    async def weigh(self, turn: Turn, *, priced: bool) -> Weight:
        """Weigh the first request of a turn by what is known here; nothing is asked."""
        ...


@runtime_checkable
class Narrows(Protocol):
    """A backend that says whether its agent can be narrowed as a spec wants it."""

    def refusal(self, spec: AgentSpec) -> str | None:
        """Return why it cannot; None: it can."""
        ...
