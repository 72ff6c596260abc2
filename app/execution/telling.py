"""A claimed step as those hear of it who watch."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

from agents.plain import plain_json
from app.concurrency.fibers import in_thread
from app.execution.learning import Lesson
from app.execution.runtime import Runtime
from app.journal.schema.rows import Claimed, NewEntry, NewMemory
from app.journal.stores.graphs import GraphStore
from celery_agents.contracts.base import JsonValue, name_of
from celery_agents.contracts.events import EventType
from celery_agents.contracts.experience import TriedWay
from celery_agents.contracts.flows.entries import StreamEvent, stream_of
from celery_agents.errors import AgentsError
from celery_agents.noted import note

log = logging.getLogger(__name__)
_UNTRACED = nullcontext()


class Telling:
    """Tells of one claim while its code runs."""

    def __init__(self, runtime: Runtime, claim: Claimed, *, streamed: bool) -> None:
        self.runtime = runtime
        self.claim = claim
        #: Of a step that somebody asked to watch.
        self.teller = runtime.streams.teller(claim) if streamed else None

        #: What it adds to streams when it succeeds; and however it ends, or when it waits.
        self.emitted: list[NewEntry] = []
        self.recorded: list[NewEntry] = []
        #: What it remembers when it succeeds, by ids.
        self.learned: dict[str, NewMemory] = {}
        #: The tools that it used and the agents that it asked, and what did well in earlier runs.
        self.used: dict[str, None] = {}
        self.ways: tuple[TriedWay, ...] = ()
        self.lesson: Lesson | None = None  # how it went is kept to learn from
        # It has read what others wrote. A row says so of a later attempt, too, where an earlier one
        # has read it: what is done before it is read again is judged as it was then (has_read).
        self.distrusted = claim.untrusted and claim.token == 1
        self.scope: Mapping[str, str] = {}  # what its run is about
        self.lets_go = False  # members of it may be open when it ends
        self.callers: tuple[str, ...] = ()  # steps that wait for what it has answered as an actor
        self.begins = 0  # a flow's history, where it has begun anew: see AwaitedAny

    @property
    def step_id(self) -> str:
        """The id of the step."""
        return self.claim.id

    @property
    def run_id(self) -> str:
        """The id of the run that the step belongs to."""
        return self.claim.run_id

    @property
    def streamed(self) -> bool:
        """True when somebody asked to watch the run while it works."""
        return self.teller is not None

    @property
    def graphs(self) -> GraphStore:
        """The threads of graphs."""
        self.settle()
        return GraphStore(self.runtime.journal.engine, self.claim.tenant, self.claim)

    async def traced(self) -> AbstractContextManager[None]:
        """Have spans of other libraries hang below the step's own, where traces are told."""
        tracing, claim, callers = self.runtime.tracing, self.claim, self.runtime.callers
        if tracing is None:
            return _UNTRACED
        if (found := callers.at_hand(claim)) is None:
            try:
                found = await in_thread(callers.read, claim.run_id)
            except AgentsError as error:
                text = "Spans below %s stand in no trace of ours"
                note(log, "traces_caller", text, claim.id, error=error)
                return _UNTRACED
        return tracing.step(claim.run_id, found.caller, claim.id)

    def settle(self) -> None:
        """See that its own row is written, where it has begun before that was."""
        if self.claim.ahead is not None:
            self.claim.ahead.settle()

    async def settled(self) -> None:
        """The same, where others go on meanwhile."""
        if self.claim.ahead is not None:
            await in_thread(self.settle)

    def did(self, name: str) -> None:
        """Take note that it used a tool, or asked an agent.

        Raises:
            InvalidPayloadError: it is no name; those are told in instructions.
        """
        used = name_of(name, "did")
        if self.lesson is not None:
            self.used[used] = None

    def say(self, text: str) -> None:
        """Tell watchers a piece of the answer's text."""
        if self.teller is not None:
            self.teller.say(text)

    def tell(self, kind: EventType, **data: JsonValue) -> None:
        """Tell watchers an event."""
        if self.teller is not None:
            self.teller.tell(kind, **data)

    def emit(
        self, stream: str, kind: str, data: Mapping[str, JsonValue], *, key: str | None = None
    ) -> None:
        """Add an entry to a stream, in the transaction that ends this step with success."""
        told = StreamEvent.read({"kind": kind, "data": plain_json(data), "key": key})
        told.refuse_large(self.runtime.settings.payload_limit_bytes)
        where = (self.claim.tenant, stream_of(stream))
        entry = NewEntry(*where, told.kind, told.data, told.key, self.claim.run_id)
        self.emitted.append(entry)

    async def progress(self, **fields: JsonValue) -> None:
        """Send a ``task-progress`` event for Flower and other watchers; never fails the step.

        What is no JSON value is not sent: one such event would end whoever reads them.
        """
        self.tell("progress", **fields)
        await self.runtime.progress.tell(self.claim.id, fields)
