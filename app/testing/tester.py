"""One agent without a broker and a journal: its own code, its tools, a script for its model."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agents.asking import value_of
from agents.base import Answer, StepContext, Turn, Usage, turn_of
from agents.catalog.kinds import Resources
from agents.catalog.loading import see_current_directory
from agents.catalog.registry import Registry
from agents.current import stand_in, step_out
from agents.net.clients import SharedClients
from agents.performing import Perform, performed
from agents.plan import Expand, Member
from app.testing.playing import play
from app.testing.replies import MemoryReplies
from app.testing.scripted import Scripted
from celery_agents import names
from celery_agents.agent import AgentMark, mark_of
from celery_agents.contracts.ask import Ask
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State
from celery_agents.errors import AgentFailedError, AgentsError, ConfigurationError

#: So often an agent goes on after those whom it waited for; more is a circle.
_ROUNDS_MAX = 100


@dataclass(frozen=True)
class MadeCall:
    """A call that an agent made: of its model, a tool, or of its own."""

    name: str
    answer: Answer


@dataclass
class TestedAnswer:
    """An answer, and how an agent came to it."""

    __test__ = False  # for pytest: it is no test

    value: JsonValue
    usage: Usage
    calls: list[MadeCall]
    #: Told to watchers: pieces of text, and events.
    events: list[tuple[str, Any]]
    progress: list[dict[str, Any]]
    #: Added to streams.
    emitted: list[dict[str, Any]]
    #: Tool calls about which a person was asked.
    wishes: list[dict[str, Any]]


class AgentTester:
    """Asks one agent in this process.

    Args:
        agent: a function, or the name of one of the configuration.
        config: the file with agents.
        modules: modules with agents.
        approve: the answer to each wish of a tool: True, False, or a function of the wish.
        real_models: models without a script are asked.

    Raises:
        ConfigurationError: there is no such agent, or something is wrong with the configuration.
    """

    def __init__(
        self,
        agent: str | Callable[..., Any],
        *,
        config: str | os.PathLike[str] | None = None,
        modules: Sequence[str] = (),
        approve: bool | Callable[[dict[str, Any]], bool] = False,
        real_models: bool = False,
    ) -> None:
        self._store = MemoryReplies()
        #: The scripts of its model, and of other agents.
        self.scripted = Scripted(self._store)
        self._approve, self._real = approve, real_models
        resources = Resources(os.environ.get, ThreadPoolExecutor(4), SharedClients(), _no_app)
        self._registry = Registry(resources)
        see_current_directory()
        self._registry.load(config=None if config is None else Path(config), modules=(*modules,))
        if callable(agent):
            mark = mark_of(agent) or AgentMark(name=agent.__name__)
            self._registry.add_function(agent, mark)
            agent = mark.name
        self._registry.get(agent)
        self.name = agent
        self.script = self.scripted(agent)

    def ask(self, input: JsonValue = None, **options: Any) -> TestedAnswer:  # noqa: A002 - as of a client
        """Ask it; ``options`` are those of ``agents.ask``.

        Raises:
            AgentsError: that with which it failed.
        """
        return asyncio.run(self.ask_async(input, **options))

    async def ask_async(self, input: JsonValue = None, **options: Any) -> TestedAnswer:  # noqa: A002 - as above
        """The same on the running loop."""
        ask = Ask.from_message((), {"agent": self.name, "input": input, **options})
        step = TestedStep(self._asked, streamed=bool(options.get("stream")))
        answer = await self._answer(self.name, turn_of(ask, ()), step)
        return TestedAnswer(
            answer.value,
            answer.usage,
            step.made_calls,
            step.events,
            step.told,
            step.emitted,
            step.wishes,
        )

    async def _answer(self, name: str, turn: Turn, step: TestedStep) -> Answer:
        registered = self._registry.get(name)
        if "backend" not in registered.__dict__:
            play(name, registered.backend, self._store, real=self._real)
        for _ in range(_ROUNDS_MAX):
            stand_in(step)
            try:
                found = await registered.backend.answer(turn, step)
            finally:
                step_out()
            if isinstance(found, Answer):
                return found
            if isinstance(found, Outcome):
                return Answer(value=value_of(name, found), usage=found.usage)
            await self._go_on(found, step)
        raise AgentFailedError(f"{name} did not end after {_ROUNDS_MAX} rounds.")

    async def _go_on(self, plan: Expand, step: TestedStep) -> None:
        """Answer those whom it waits for."""
        for member in plan.members:
            step.ended[member.key] = await self._ended(member, step)
        step.again()

    async def _ended(self, member: Member, step: TestedStep) -> Outcome:
        if member.waits:
            wish: dict[str, Any] = dict(member.input) if isinstance(member.input, dict) else {}
            step.wishes.append(wish)
            yes = self._approve(wish) if callable(self._approve) else self._approve
            return Outcome(state=State.SUCCEEDED, value=True if yes else "The test says no.")
        if member.task != names.ASK:
            raise ConfigurationError(
                f"It asks for {member.task}, which needs a stack: use the fixture agents."
            )
        ask = Ask.from_message((member.input,), member.options)
        try:
            answer = await self._asked(ask)
        except AgentsError as error:
            return Outcome(state=State.FAILED, error=ErrorInfo.of(error))
        return Outcome(state=State.SUCCEEDED, value=answer.value, usage=answer.usage)

    async def _asked(self, ask: Ask) -> Answer:
        return await self._answer(ask.agent, turn_of(ask, ()), TestedStep(self._asked))


@dataclass
class TestedStep:
    """A step whose journal is this process."""

    __test__ = False  # for pytest: it is no test

    asking: Callable[[Ask], Any]
    streamed: bool = False
    step_id: str = "step-1"
    run_id: str = "run-1"
    attempt: int = 1
    tries: int = 1
    spent: Usage = field(default_factory=Usage)
    made_calls: list[MadeCall] = field(default_factory=list)
    events: list[tuple[str, Any]] = field(default_factory=list)
    told: list[dict[str, Any]] = field(default_factory=list)
    emitted: list[dict[str, Any]] = field(default_factory=list)
    wishes: list[dict[str, Any]] = field(default_factory=list)
    ended: dict[str, Outcome] = field(default_factory=dict)
    distrusted: bool = False
    finished: dict[tuple[str, str, int], Answer] = field(default_factory=dict)
    times: Counter[tuple[str, str]] = field(default_factory=Counter)

    def again(self) -> None:
        """Begin the code anew, with the calls that were made."""
        self.times.clear()
        self.spent = Usage()

    async def call(self, name: str, perform: Perform, *, fingerprint: str = "", **_: Any) -> Answer:
        """Make a call once."""
        about = (name, fingerprint, self.times[name, fingerprint])
        self.times[name, fingerprint] += 1
        if (answer := self.finished.get(about)) is None:
            answer = await performed(name, perform, f"{self.step_id}-{len(self.finished) + 1}")
            answer = Answer.model_validate_json(answer.model_dump_json())  # as a journal keeps it
            self.finished[about] = answer
            self.made_calls.append(MadeCall(name, answer))
        self.spent += answer.usage
        return answer

    async def made(self, name: str, *, fingerprint: str = "", after: int = 0, **_: Any) -> bool:
        """Return whether a call was made."""
        return (name, fingerprint, self.times[name, fingerprint] + after) in self.finished

    async def spent_in_all(self) -> Usage:
        """The usage of all calls."""
        return sum((answer.usage for answer in self.finished.values()), Usage())

    ways = ()

    def did(self, name: str) -> None:
        """Do nothing: nobody learns from it."""

    async def distrust(self) -> None:
        """Take note of it."""
        self.distrusted = True

    async def untrusted(self, about: str) -> bool:  # noqa: ARG002 - a step's own
        """Return whether it was noted."""
        return self.distrusted

    async def ask(self, agent: Any, input: JsonValue = None, **options: Any) -> Any:  # noqa: A002 - a step's own
        """Ask another agent, at once."""
        ask = Ask.from_message((), {"agent": agent, "input": input, **options})
        return (await self.asking(ask)).value

    async def answered(self) -> Mapping[str, Outcome]:
        """Those whom it waited for."""
        return self.ended

    @property
    def graphs(self) -> Any:
        """Threads of graphs need a journal.

        Raises:
            ConfigurationError: always.
        """
        raise ConfigurationError("Threads of graphs need a stack: use the fixture agents.")

    def memory(self, name: str) -> Any:
        """Memories need a journal.

        Raises:
            ConfigurationError: always.
        """
        raise ConfigurationError(f"The memory {name} needs a stack: use the fixture agents.")

    def say(self, text: str) -> None:
        """Note a piece of text."""
        self.events.append(("text", text))

    def tell(self, kind: str, **data: Any) -> None:
        """Note an event."""
        self.events.append((kind, data))

    def emit(self, stream: str, kind: str, data: Any, *, key: str | None = None) -> None:
        """Note an entry of a stream."""
        self.emitted.append({"stream": stream, "kind": kind, "data": data, "key": key})

    async def progress(self, **fields: Any) -> None:
        """Note how far it is."""
        self.told.append(fields)


_: type[StepContext] = TestedStep


def _no_app(_: Any) -> Any:
    raise ConfigurationError("An agent of another app needs a stack: use the fixture agents.")
