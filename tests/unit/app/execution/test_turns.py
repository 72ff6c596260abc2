"""Turns with breakers and health that say what the test wants."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any, TypeVar, cast

import pytest

from agents.base import Answer, Turn
from agents.catalog.registry import Registry
from agents.needs import Weight
from agents.plan import MemberState
from agents.policies.breaker import BreakerPolicy
from app.admission.breakers import Admission, Breakers, Change, Switch
from app.admission.guards.admission import PROVIDER, switches_of
from app.admission.guards.health import HealthView
from app.concurrency.future import Future
from app.concurrency.loop import process_loop
from app.execution.context import Step
from app.execution.turns import Turns
from celery_agents.contracts.fallback import Candidate
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State, Usage
from celery_agents.contracts.patterns import Fallback
from celery_agents.errors import (
    AgentFailedError,
    BadAnswerError,
    BreakerOpenError,
    ProviderUnavailableError,
    RateLimitedError,
)
from tests.support.entries import agent_of

T = TypeVar("T")
SOON_S = 20
HTTP: dict[str, Any] = {"kind": "http", "url": "http://127.0.0.1:9/ask"}
GPT: dict[str, Any] = {"kind": "openai", "model": "m", "provider": "openai"}
SCRIPTED: dict[str, Any] = {"kind": "scripted", "replies": [{"value": 1}]}


class Says:
    """A backend that answers or raises what it was given."""

    def __init__(self, what: Any) -> None:
        self.what = what
        self.asked = 0

    async def answer(self, _turn: Turn, _step: Any) -> Answer:
        self.asked += 1
        if isinstance(self.what, BaseException):
            raise self.what
        if self.what is asyncio.sleep:
            await asyncio.sleep(60)
        return Answer(value=self.what)

    async def aclose(self) -> None:
        """Nothing."""


def replied(value: T) -> Future[T]:
    reply: Future[T] = Future()
    reply.set_result(value)
    return reply


class Gate(Breakers):
    """Breakers of which some are open."""

    def __init__(self, *closed_off: str, changes: tuple[Change, ...] = ()) -> None:
        self.closed_off = set(closed_off)
        self.changes = changes
        self.probe = False
        self.told: list[tuple[str, str]] = []
        self.asked: Future[Admission] | None = None  # None: as the closed ones say
        self.answer: Future[Sequence[Change]] = replied(())

    def ask(self, switches: Sequence[Switch], call: str) -> Future[Admission]:
        if self.asked is not None:
            return self.asked
        for switch in switches:
            if switch.name in self.closed_off:
                return replied(Admission(refused_by=switch.name, wait_s=7))
        return replied(Admission(probe=self.probe, changes=self.changes))

    def tell(
        self, switches: Sequence[Switch], call: str, verdicts: Sequence[str]
    ) -> Future[Sequence[Change]]:
        self.told += [(s.name, str(v)) for s, v in zip(switches, verdicts, strict=True)]
        return self.answer

    def refusing(self, switches: Sequence[Switch]) -> set[str]:
        return {s.name for s in switches} & self.closed_off


class Desk:
    """Turns over agents that are made of entries and what they say."""

    def __init__(
        self, gate: Gate | None = None, sick: Sequence[str] = (), attempt: int = 1
    ) -> None:
        self.gate = gate or Gate()
        self.registry = Registry(cast("Any", None))
        self.events: list[Any] = []
        self.told: list[str] = []
        self.stopped = False
        view = cast("HealthView", SimpleNamespace(unhealthy=lambda: frozenset(sick)))
        self.turns = Turns(self.registry, self.gate, view)
        self.step = SimpleNamespace(
            step_id="s",
            run_id="r",
            attempt=attempt,
            tries=attempt,
            note=self._note,
            tell=lambda kind, **_: self.told.append(kind),
            asked_to_stop=False,
            spent=Usage(),
            allowance=None,
            learned={"m": "remembered"},
            emitted=["an entry"],
        )

    async def _note(self, kind: str, data: Sequence[dict[str, str]]) -> None:
        self.events += [(kind, d) for d in data]

    def add(self, name: str, what: Any, entry: dict[str, Any] | None = None) -> Says:
        backend = Says(what)
        self.registry._add(agent_of(name, lambda: backend, None, entry))
        return backend

    async def turn(self, name: str, **more: Any) -> Any:
        return await self.turns.take(name, Turn(input=1), cast("Step", self.step), **more)

    def take(self, name: str, **more: Any) -> Any:
        return asyncio.run(self.turn(name, **more))


def test_a_function_has_no_breaker() -> None:
    desk = Desk(Gate("agent:f"))
    desk.add("f", "yes")
    desk.add("scripted", "yes", SCRIPTED)
    assert desk.take("f").value == desk.take("scripted").value == "yes"
    assert desk.gate.told == []


@pytest.mark.parametrize(
    ("what", "own", "providers"),
    [
        ("yes", "good", "good"),
        (ProviderUnavailableError("down"), "bad", "bad"),
        (BadAnswerError("nonsense"), "bad", "none"),
        (RateLimitedError("slow"), "none", "none"),
        (AgentFailedError("no"), "none", "none"),
        (ValueError("bug"), "none", "none"),
    ],
)
def test_breakers_are_told_how_it_went(what: Any, own: str, providers: str) -> None:
    desk = Desk()
    desk.add("gpt", what, GPT)
    if isinstance(what, Exception):
        with pytest.raises(type(what)):
            desk.take("gpt")
    else:
        assert desk.take("gpt").value == what
    assert desk.gate.told == [("agent:gpt", own), ("provider:openai", providers)]


@pytest.mark.parametrize(("asked_to_stop", "said"), [(False, "bad"), (True, "none")])
def test_late_is_not_cancelled(asked_to_stop: bool, said: str) -> None:
    desk = Desk()
    desk.add("service", asyncio.sleep, {**HTTP, "breaker": {"min_timeout_s": 0}})
    desk.step.asked_to_stop = asked_to_stop

    async def late() -> None:
        async with asyncio.timeout(0.01):
            await desk.turn("service")

    with pytest.raises(TimeoutError):
        asyncio.run(late())
    assert desk.gate.told == [("agent:service", said)]


@pytest.mark.parametrize("which", ["agent:gpt", "provider:openai"])
def test_an_open_breaker_calls_nobody(which: str) -> None:
    desk = Desk(Gate(which))
    backend = desk.add("gpt", "yes", GPT)
    with pytest.raises(BreakerOpenError, match=which) as caught:
        desk.take("gpt")
    assert caught.value.retry_after_s == 7
    found = desk.take("gpt", when_open="fail")
    assert (found.state, found.error.kind) == (State.FAILED, "breaker_open")
    assert (backend.asked, desk.gate.told) == (0, [])


LATER = RateLimitedError("slow", {"retry_after_s": 9})


@pytest.mark.parametrize(
    ("what", "when_open", "fails"),
    [
        (LATER, "wait", False),
        (LATER, "fail", True),
        (LATER, ("rate_limited",), True),
        (LATER, ("breaker_open",), False),
        (BreakerOpenError("open"), ("breaker_open", "timeout"), True),
        (BreakerOpenError("open"), ("rate_limited",), False),
        (ProviderUnavailableError("down"), "fail", False),  # an attempt: its policy decides
        (ProviderUnavailableError("down"), ("unavailable",), False),
    ],
)
def test_who_is_refused_waits_or_gives_way(what: Any, when_open: Any, fails: bool) -> None:
    desk = Desk()
    desk.step.spent = Usage(calls=2)  # of the conversation that was refused to go on
    desk.add("gpt", what, GPT)
    if not fails:
        with pytest.raises(type(what)):
            desk.take("gpt", when_open=when_open)
        return
    found = desk.take("gpt", when_open=when_open)
    assert (found.state, found.error.kind) == (State.FAILED, what.kind)
    assert found.usage.calls == 2


@pytest.mark.parametrize(
    ("what", "probe", "waits"),
    [
        ("yes", False, False),
        ("yes", True, True),  # it may close
        (AgentFailedError("no"), False, False),
        (AgentFailedError("no"), True, True),
        (ProviderUnavailableError("down"), False, True),  # it may open
    ],
)
def test_only_who_may_change_a_breaker_waits_for_it(what: Any, probe: bool, waits: bool) -> None:
    desk = Desk()
    desk.gate.probe = probe
    desk.gate.answer = Future()
    desk.add("gpt", what, GPT)

    async def look() -> tuple[bool, BaseException | None]:
        task = asyncio.create_task(desk.turn("gpt"))
        await asyncio.wait([task], timeout=0.05)
        held = not task.done()
        desk.gate.answer.set_result((Change("agent:gpt", "half_open", "closed"),))
        await asyncio.wait([task])
        return held, task.exception()

    held, error = process_loop().submit(look()).result(SOON_S)
    assert held is waits
    assert error is (what if isinstance(what, Exception) else None)
    assert [data["to"] for _, data in desk.events] == ["closed"] * waits
    assert len(desk.gate.told) == 2


def test_who_is_cancelled_while_it_asks_keeps_no_place() -> None:
    desk = Desk()
    desk.gate.asked = Future()
    backend = desk.add("service", "yes", HTTP)

    async def cancel() -> None:
        task = asyncio.create_task(desk.turn("service"))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    process_loop().submit(cancel()).result(SOON_S)
    assert (backend.asked, desk.gate.told) == (0, [("agent:service", "none")])


def test_changes_are_events() -> None:
    desk = Desk(Gate(changes=(Change("agent:gpt", "open", "half_open"),)))
    desk.add("gpt", "yes", GPT)
    desk.take("gpt")
    data = {"breaker": "agent:gpt", "from": "open", "to": "half_open"}
    assert desk.events == [("breaker", data)]


@pytest.mark.parametrize(
    ("gate", "sick", "answers", "why"),
    [
        (Gate(), [], "main", None),
        (Gate(), ["agent:main"], "other", "unhealthy"),
        (Gate(), ["agent:main", "agent:other"], "main", None),  # no better
        (Gate(), ["agent:other"], "main", None),
        (Gate("agent:main"), [], "other", "breaker_open"),
        (Gate("agent:main"), ["agent:main", "agent:other"], "other", "breaker_open"),
    ],
)
def test_backups(gate: Gate, sick: list[str], answers: str, why: str | None) -> None:
    desk = Desk(gate, sick)
    desk.add("main", "main", {**HTTP, "backup": "other"})
    desk.add("other", "other", HTTP)
    found = desk.take("main")
    assert found.value == answers
    # What the one that was asked first wanted to be kept is nobody's.
    kept = ({"m": "remembered"}, ["an entry"]) if why is None else ({}, [])
    assert (desk.step.learned, desk.step.emitted) == kept
    if why is None:
        assert desk.events == []
    else:
        assert isinstance(found, Outcome)
        assert (found.agent, found.state) == ("other", State.SUCCEEDED)
        assert desk.events == [("failover", {"from": "main", "to": "other", "why": why})]


def test_nobody_goes_on_with_an_effect_of_another_attempt() -> None:
    for attempt, answers in ((1, "other"), (2, "main")):
        desk = Desk(sick=["agent:main"], attempt=attempt)
        desk.add("main", "main", {**HTTP, "backup": "other", "effects": "effect"})
        desk.add("other", "other", HTTP)
        assert desk.take("main").value == answers


def test_masks_by_key_and_leaves_strangers_alone() -> None:
    desk = Desk(Gate("agent:a", "provider:openai"))
    desk.add("a", 1, HTTP)
    desk.add("b", 1, HTTP)
    desk.add("gpt", 1, GPT)
    desk.add("f", 1)
    candidates = [Candidate(agent=n, name=f"the {n}") for n in ("a", "b", "gpt", "f", "elsewhere")]
    assert desk.turns.masked(candidates) == {"the a", "the gpt"}


class Sized(Says):
    """A model with a window."""

    def __init__(self, window: int | None, *, fits: bool = True) -> None:
        super().__init__(1)
        self.weight = Weight(fits, window)

    async def weigh(self, _turn: Turn, *, priced: bool) -> Weight:
        assert not priced
        return self.weight


def test_after_a_question_that_was_too_long_larger_models_alone_are_asked() -> None:
    desk = Desk(Gate("agent:closed"))
    windows = {"small": 8, "same": 100, "large": 900, "unknown": None, "closed": 900}
    for name, window in windows.items():
        desk.registry._add(agent_of(name, partial(Sized, window), None, GPT))
    desk.registry._add(agent_of("full", lambda: Sized(900, fits=False), None, GPT))
    desk.add("service", 1, HTTP)
    candidates = [*windows, "full", "service", "elsewhere"]
    request = Fallback.model_validate({"input": "?", "candidates": candidates})
    assert desk.turns.out(request, []) == {"closed"}
    error = ErrorInfo(kind="context_exceeded", message="too long", details={"context_tokens": 100})
    ended = Outcome(state=State.FAILED, error=error)
    failed = MemberState(key="same", state=State.FAILED, outcome=ended)
    assert desk.turns.out(request, [failed]) == {"closed", "small", "same", "full"}


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (None, []),
        (SCRIPTED, []),
        ({**SCRIPTED, "breaker": {"failures": 3}}, [("agent:x", 3)]),
        (HTTP, [("agent:x", 5)]),
        ({**HTTP, "breaker": False}, []),
        ({**HTTP, "breaker": {"failures": 2}}, [("agent:x", 2)]),
        ({"kind": "celery", "task": "t", "queue": "q"}, [("agent:x", 5)]),
        (GPT, [("agent:x", 5), ("provider:openai", PROVIDER.failures)]),
        (
            {**GPT, "base_url": "http://127.0.0.1:8/v1"},
            [("agent:x", 5), ("provider:openai@127.0.0.1:8", PROVIDER.failures)],
        ),
    ],
)
def test_who_has_which_breakers(entry: dict[str, Any] | None, expected: Any) -> None:
    found = switches_of(agent_of("x", lambda: None, "pure", entry))
    assert [(s.name, s.policy.failures) for s in found] == expected
    assert all(isinstance(s.policy, BreakerPolicy) for s in found)
