"""A claimed step as the code that runs it sees it (the StepContext of agents.base)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from agents.current import stand_in, step_out
from agents.memory.summaries import TalkSummary
from agents.plain import plain_json
from agents.plan import Expand, MemberState, Tally
from app.concurrency.fibers import in_thread
from app.execution.calls.calling import Calling
from app.execution.calls.memory import SpaceMemory
from app.execution.runtime import Active, Runtime
from app.execution.sessions import Talk
from app.execution.trust import goes_on_with
from app.governance.allowance import Allowance
from app.journal.queries import tallies
from app.journal.schema.rows import Claimed
from celery_agents.contracts.ask import Ask
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.conversation import ChatMessage
from celery_agents.contracts.nearest import meant
from celery_agents.contracts.outcome import FREE, Answer, Outcome, Usage
from celery_agents.contracts.teams.spec import AgentSpec
from celery_agents.errors import (
    AgentFailedError,
    AgentsError,
    BadAnswerError,
    ConfigurationError,
    InvalidPayloadError,
)
from celery_agents.noted import note

if TYPE_CHECKING:
    from celery_agents.client.answers import AnswerType

log = logging.getLogger(__name__)
T = TypeVar("T")


class Step(Calling):
    """One claim of one step."""

    def __init__(
        self,
        runtime: Runtime,
        claim: Claimed,
        active: Active | None = None,
        *,
        streamed: bool = False,
        caps: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(runtime, claim, streamed=streamed)
        self._active = active or Active(claim)
        #: What bounds it and all below it, where something does.
        caps = caps or {}
        self.allowance = Allowance(runtime.journal.bounds, claim, caps) if caps else None
        if self.allowance is not None and "max_cost" in caps:
            self._afford = self.allowance.afford
        self.talk: Talk | None = None  # its part in a session
        self.turns: tuple[ChatMessage, ...] = ()  # on the way to its answer
        self.left_out = 0  # exchanges that its agent is not told, for its window
        self._answered: dict[str, Outcome] | None = None
        self._reading: asyncio.Lock | None = None
        self.ended_members: int | None = None  # of those that it has looked at

    @property
    def agent(self) -> str | None:
        """The agent that acts: that of the step, or who goes on in its session."""
        return self.claim.agent if self.talk is None else self.talk.agent

    @property
    def attempt(self) -> int:
        """The number of this attempt, from 1."""
        return self.claim.attempt

    @property
    def tries(self) -> int:
        """The number of claims that the step has had, from 1."""
        return self.claim.token

    @property
    def tenant(self) -> str:
        """The name of those whose run it is; "" is nobody in particular."""
        return self.claim.tenant

    @property
    def priority(self) -> int:
        """From 0, which is first, to 9."""
        return self.claim.priority

    @property
    def session(self) -> str | None:
        """The session that its run goes on with."""
        return None if self.talk is None else self.talk.session

    @property
    def summary(self) -> TalkSummary | None:
        """The summary of the session's begin that an earlier run had written."""
        return None if self.talk is None else self.talk.summary

    @property
    def thread(self) -> str:
        """The conversation of which what it remembers is a turn: its session, or its run."""
        return self.session or self.run_id

    def memory(self, name: str) -> SpaceMemory:
        """A memory of the configuration, in the space that the run's scope names."""
        policies = self.runtime.agents.registry.memories
        if (policy := policies.get(name)) is None:
            raise ConfigurationError(f"There is no [memory.{name}]{meant(name, policies, repr)}")
        return SpaceMemory(self, name, policy, self.thread)

    def told(self, left_out: int, summary: TalkSummary | None) -> None:
        """Keep how many exchanges its agent is not told, and the summary of them."""
        self.left_out = left_out
        if self.talk is not None:
            self.talk.summary = summary

    @property
    def of_members(self) -> Usage:
        """The usage of the members that it has looked at by :meth:`answered`, each once."""
        return sum((o.usage for o in (self._answered or {}).values()), FREE)

    @property
    def asked_to_stop(self) -> bool:
        """True when it is cancelled, suspended, or its worker stops; being late does not count."""
        return self.runtime.stopping or self._active.cancelled or self._suspended

    @property
    def over(self) -> bool:
        """True when nobody goes on with what it waits for: cancelled, late, or the last attempt."""
        if self._active.lost or self.runtime.stopping:
            return False
        late = self.claim.left_s is not None and self.claim.left_s <= 0
        return self._active.cancelled or late or self.claim.attempt >= self.claim.max_attempts

    def members(self) -> list[MemberState]:
        """The members of earlier expansions of this step."""
        found = self.runtime.journal.members(self.claim.id) if self.claim.token > 1 else []
        self.ended_members = sum(m.state.final for m in found)
        return found

    async def answered(self) -> dict[str, Outcome]:
        """The members of this step that have ended, by their keys."""
        if self.claim.token == 1:  # the first claim has no members
            return {}
        if self._reading is None:
            self._reading = asyncio.Lock()
        async with self._reading:  # one for all who ask at once
            if self._answered is None:
                found = await in_thread(self.members)
                self._answered = {m.key: m.outcome for m in found if m.outcome is not None}
        return self._answered

    async def with_members(self, said: Answer | Outcome | Expand) -> Answer | Outcome | Expand:
        """Return what an agent said, at the cost of those too whom it has asked."""
        if isinstance(said, Expand) or self.claim.token == 1:  # the first claim has no members
            return said
        await self.answered()
        return said.model_copy(update={"usage": said.usage + self.of_members})

    def tally(self) -> Tally:
        """Return the numbers of members, with their values where one message can hold them.

        Half of what a payload may have: what follows in a chain takes it as its input.
        """
        if self.claim.token == 1:
            return Tally()
        within = self.runtime.settings.payload_limit_bytes // 2
        return self.runtime.journal.tally(self.claim.id, values_within=within)

    def earlier_map(self, run_id: str) -> tuple[str, dict[str, Any]]:
        """Return the id and payload of a map of the tenant; see :func:`tallies.earlier_map`."""
        goes_on_with(self, run_id)
        read = self.runtime.journal.read
        return read(lambda c: tallies.earlier_map(c, run_id, self.claim.tenant))

    def answers_of(self, run_id: str) -> dict[int, Outcome]:
        """Return the outcomes of a step's members that succeeded, by their places."""
        return self.runtime.journal.read(lambda c: tallies.answers(c, run_id))

    async def ask(
        self,
        agent: str | AgentSpec,
        input: JsonValue = None,  # noqa: A002 - as callers write it
        **options: Any,
    ) -> Any:
        """Ask another agent, as a member of this step; see :class:`agents.base.StepContext`."""
        kind = _typed(options)
        try:
            told = plain_json(input)
        except ValueError as error:
            raise InvalidPayloadError(f"{_called(agent)} cannot be asked: {error}") from None
        ask = Ask.from_message([told], {"agent": agent, **options})
        if ask.webhook is not None:
            raise InvalidPayloadError("webhook: it is of a run, and no step of one has its own.")
        self.runtime.agents.registry.refuse_hidden_effects(self.agent, ask.agent)
        self.did(ask.agent)
        value = await self.questions().ask(ask)
        return value if kind is None else _read(kind, _called(agent), value)

    async def run(self, code: Awaitable[T]) -> T | Expand:
        """Run the step's code; the members that it waits for, where it asked some."""
        self._code = asyncio.current_task()
        stand_in(self)
        try:
            result = await code
        except (Exception, asyncio.CancelledError):
            if self._asks is None or not self._asks.suspended:
                raise
            self._asks.resume()
        else:
            if self._asks is None or not self._asks.suspended:
                return result
        finally:
            step_out()
            if self._asks is not None:
                self._asks.close()
        return self._asks.wanted

    async def note(self, kind: str, data: Sequence[dict[str, str]]) -> None:
        """Write events of this step; a journal that is away fails nothing: they are for people."""
        try:
            await self.settled()
            await in_thread(self.runtime.journal.note, self.run_id, self.step_id, kind, data)
        except AgentsError as error:
            note(log, "events", "Events of %s were not written", self.step_id, error=error)

    def heard(self, turns: tuple[ChatMessage, ...]) -> None:
        """Keep what its agent said on the way to its answer, for its session."""
        self.turns = turns


def _called(agent: str | AgentSpec) -> str:
    return agent.called if isinstance(agent, AgentSpec) else agent


def _typed(options: dict[str, Any]) -> AnswerType[Any] | None:
    """The type of the answer, whose schema takes its place among the options."""
    if options.get("answer") is None:
        return None
    from celery_agents.client.answers import typed

    return typed(options)


def _read(kind: AnswerType[Any], agent: str, value: JsonValue) -> Any:
    try:
        return kind.read(value)
    except BadAnswerError as error:  # it would be the same in each attempt
        raise AgentFailedError(f"{agent}: {error.message}") from None
