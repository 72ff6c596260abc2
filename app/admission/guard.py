"""Guards: middleware round an agent's turn, one concern each.

A guard is called with what is asked and with what goes on. It may let it go on, to the same agent
or to another one, answer by itself, refuse by an error whose ``attempted`` is false, or look at
how it went. Which guards there are, in which order and why, stands in chain.py.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Literal, Protocol

from agents.base import Answer, StepContext, Turn
from agents.catalog.registry import Registered
from agents.memory.summaries import TalkSummary
from agents.plan import Expand
from app.journal.schema.rows import NewEntry, NewMemory
from celery_agents.contracts.approval import ClientRequest
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.conversation import ChatMessage
from celery_agents.contracts.outcome import Outcome, Usage
from celery_agents.light import light

if TYPE_CHECKING:
    from app.admission.budgets.charging import Bounded, Charge, Purse
    from app.admission.limits.passage import Passage

#: What to do about refusals: try the step again later, or end it; those of some kinds alone.
WhenOpen = Literal["wait", "fail"] | tuple[str, ...]


class Gate(Protocol):
    """The way into a turn, before its first act."""

    async def enter(self, charge: Charge | None = None) -> None:
        """Pass the breakers and limits of its agent, and reserve what the act may cost."""
        ...


class Judging(Protocol):
    """Agents that are asked about texts, within a step."""

    @property
    def spent(self) -> Usage:
        """The cost of them up to now."""
        ...

    async def allows(self, agent: str, side: str, told: JsonValue) -> bool:
        """Ask an agent whether the ``input`` or the ``output`` of another one may pass."""
        ...

    async def answer(self, agent: str, turn: Turn) -> JsonValue:
        """Return what an agent answers to a turn.

        Raises:
            AgentFailedError: it did not.
        """
        ...

    async def aside(
        self, name: str, perform: Callable[[], Awaitable[Answer]], fingerprint: str
    ) -> Answer:
        """Make a journaled call that asks nobody: no limit, budget or breaker is in its way."""
        ...


class GuardedCalls(Protocol):
    """The calls of a step, as guards see them."""

    #: Who answers them from now on, where a router chose: it is written down with each.
    deployment: str | None

    async def answered_by(self) -> str | None:
        """Return who answered the newest one of earlier attempts, where that is written down."""
        ...

    def anew(self) -> None:
        """Let the code ask again from its start; those that have ended well are not made again."""
        ...


class GuardedStep(StepContext, Protocol):
    """The step of a turn, as guards see it."""

    @property
    def asked_to_stop(self) -> bool:
        """True when it is cancelled or its worker stops; being late does not count."""
        ...

    async def ask_client(self, request: ClientRequest) -> JsonValue:
        """Ask the program that called the tool which asks."""
        ...

    @property
    def spent(self) -> Usage:
        """The usage of its calls up to now."""
        ...

    @property
    def learned(self) -> dict[str, NewMemory]:
        """The memories that it keeps when it succeeds, by ids."""
        ...

    @property
    def emitted(self) -> list[NewEntry]:
        """The entries of streams that it adds when it succeeds."""
        ...

    @property
    def tenant(self) -> str:
        """The name of those whose run it is."""
        ...

    @property
    def priority(self) -> int:
        """From 0, which is first, to 9."""
        ...

    @property
    def allowance(self) -> Bounded | None:
        """The bounds of its run and of the steps above, where there are some."""
        ...

    def limit(self, passage: Passage | None) -> None:
        """Let its requests pass there from now on; None: nowhere."""
        ...

    def charge(self, purse: Purse | None) -> None:
        """Have its requests counted there from now on."""
        ...

    def helpers(self) -> Judging:
        """Other agents, to be asked about what goes in and comes out."""
        ...

    @property
    def session(self) -> str | None:
        """The session that its run goes on with."""
        ...

    @property
    def summary(self) -> TalkSummary | None:
        """The summary of the session's begin that an earlier run had written."""
        ...

    def told(self, left_out: int, summary: TalkSummary | None) -> None:
        """Keep how many exchanges its agent is not told, and the summary of them."""
        ...

    @property
    def calls(self) -> GuardedCalls:
        """The calls that it makes."""
        ...

    def enter(self, gate: Gate | None) -> None:
        """Await this before the first act of the turn that is not known already."""
        ...

    def heard(self, turns: tuple[ChatMessage, ...]) -> None:
        """Keep what the agent said on the way to its answer, for its session."""
        ...

    async def note(self, kind: str, data: Sequence[dict[str, str]]) -> None:
        """Write events of the step. They are for people: a journal that is away fails nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Admitted:
    """A turn that its breakers and limits have let through already."""

    passage: Passage
    probe: bool = False


@light(frozen=True, slots=True)
class Asked:
    """A turn that is asked of an agent."""

    agent: Registered
    turn: Turn
    step: GuardedStep
    when_open: WhenOpen = "wait"
    #: Whether the agent answers in another one's place: it has no backup of its own then.
    instead: bool = False
    admitted: Admitted | None = None


Reply = Answer | Outcome | Expand
Next = Callable[[Asked], Awaitable[Reply]]


class Guard(Protocol):
    """One reason why a turn may wait, be answered otherwise, or be refused."""

    def concerns(self, agent: Registered) -> bool:
        """Return whether it may do anything about a turn of an agent; it says so once."""
        ...

    async def __call__(self, asked: Asked, go_on: Next) -> Reply:
        """Answer, by ``go_on(asked)`` or otherwise."""
        ...


def forget_said(step: GuardedStep) -> None:
    """Forget what an agent wanted to be kept that another one now answers for."""
    step.learned.clear()
    step.emitted.clear()


def compose(guards: Sequence[Guard], last: Next) -> Next:
    """One function of all guards, the first one outermost, round ``last``."""
    return reduce(_inside, reversed(guards), last)


class Guarded:
    """Guards round ``last``; round an agent that concerns none of them, ``last`` alone.

    It is decided in one place, once for each agent, so that what is off costs a turn nothing. A
    turn that asks for something itself (to be refused rather than wait, to keep within a budget)
    has them all. So has a backup, which is asked through the guards of whom it stands in for.
    """

    def __init__(self, guards: Sequence[Guard], last: Next) -> None:
        self._guards = guards
        self._last = last
        self._all = compose(guards, last)
        self._plain: dict[str, tuple[Registered, bool]] = {}

    def __call__(self, asked: Asked) -> Awaitable[Reply]:
        """Answer a turn."""
        asks_nothing = asked.when_open == "wait" and asked.step.allowance is None
        plain = asks_nothing and self.is_plain(asked.agent)
        return (self._last if plain else self._all)(asked)

    def is_plain(self, agent: Registered) -> bool:
        """Return whether an agent concerns none of them."""
        known = self._plain.get(agent.name)
        if known is None or known[0] is not agent:  # one that is posted anew is another one
            plain = not any(guard.concerns(agent) for guard in self._guards)
            known = self._plain[agent.name] = (agent, plain)
        return known[1]


def _inside(go_on: Next, guard: Guard) -> Next:
    return lambda asked: guard(asked, go_on)
