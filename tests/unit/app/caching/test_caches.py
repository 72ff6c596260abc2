"""The way of a call through the caches of a process, without a Redis of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from agents.caching.cacheable import Cacheable, Caching
from agents.caching.local import Known
from app.caching import waiting
from app.caching.caches import CONFIRMED_S, Caches, local_answers
from app.caching.shared import Found, Look, Missed, Sought, Taken
from app.concurrency.future import Future
from celery_agents.contracts.caching import CachePolicy
from celery_agents.contracts.outcome import Answer, Usage
from celery_agents.errors import AgentFailedError, AwaitsAnswerError, RateLimitedError

ASKED = Sought("k", "gpt", "s")
TEXT = '{"value": "said", "usage": {"calls": 1, "cost_usd": 0.5}}'
LATER = 4_000_000_000_000


def done(value: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(value)
    return future


class Redis:
    """The shared cache as a list of what was asked of it, and what it says to looks."""

    def __init__(self, *looks: Look) -> None:
        self.looks = list(looks)
        self.asked: list[Any] = []
        self.renewed = asyncio.Event()

    def look(self, asked: Sought, use: str, known: int | None = None) -> Future[Look]:
        self.asked.append((use, known))
        return done(self.looks.pop(0))

    def put(self, asked: Sought, text: str, **about: Any) -> Future[Any]:
        self.asked.append(("put", text, about["ttl_s"], about["price_usd"]))
        return done((LATER, []))

    def leave(self, asked: Sought, *, alone: bool) -> Future[list[str]]:
        self.asked.append("alone" if alone else "next")
        return done([])

    def renew(self, asked: Sought) -> None:
        self.asked.append("renew")
        if self.asked.count("renew") > 1:
            self.renewed.set()


class Memory(dict[str, Known]):
    """A process's memory."""

    def put(self, key: str, text: str, until: int, left_s: float) -> None:
        self[key] = Known(text, until, time.monotonic())

    def confirm(self, key: str, until: int) -> None:
        if key in self and self[key].until != until:
            del self[key]


def what(good: bool = True) -> Cacheable:
    return Caching("gpt", CachePolicy(ttl_s=9)).of("about", lambda _: good)


def ask(
    redis: Redis,
    perform: Callable[[], Awaitable[Answer]] | None = None,
    memory: Memory | None = None,
    *,
    good: bool = True,
    lease_s: float = 7,
) -> Answer:
    """The answer that comes out; a miss has to be expected by ``perform``."""
    nobody: Any = None
    caches = Caches(redis, memory, nobody, nobody, lease_s=lease_s)  # type: ignore[arg-type]

    async def work() -> Answer:
        async with caches.asking(ASKED, what(good), "use") as asking:
            if asking.found is not None:
                return asking.found
            assert perform is not None
            answer = await perform()
            asking.put(answer, untrusted=False)
            return answer

    return asyncio.run(work())


async def answers() -> Answer:
    return Answer(value="new", usage=Usage(calls=1, cost_usd=0.25))


def test_a_hit_costs_nothing_and_says_what_it_saved() -> None:
    found = ask(Redis(Found(TEXT, LATER, 0.5)))
    assert (found.value, found.usage) == ("said", Usage(saved_usd=0.5))


def test_what_is_known_here_is_confirmed_once_a_second() -> None:
    memory = Memory(k=Known(TEXT, LATER, time.monotonic()))
    redis = Redis(Found(None, LATER, 0.5), Found(None, LATER, 0.5))
    assert ask(redis, memory=memory).value == "said"
    memory["k"].confirmed_at -= CONFIRMED_S
    assert ask(redis, memory=memory).value == "said"
    assert redis.asked == [("count", LATER), ("use", LATER)]
    memory["k"].confirmed_at -= CONFIRMED_S
    redis.looks = [Missed(leads=True)]  # it was forgotten
    assert ask(redis, answers, memory).value == "new"
    assert not memory


def test_without_redis_what_is_known_here_is_served() -> None:
    memory = Memory(k=Known(TEXT, LATER, -1e9))
    assert ask(Redis(Missed(away=True)), memory=memory).value == "said"
    assert memory
    assert ask(Redis(Missed(away=True)), answers).value == "new"


def test_who_leads_gives_its_answer_or_says_that_there_is_none() -> None:
    redis = Redis(Missed(leads=True))
    assert ask(redis, answers).value == "new"
    told = '{"value":"new","usage":{"calls":1,"cost_usd":0.25}}'
    assert redis.asked[1:] == [("put", told, 9, 0.25)]
    redis = Redis(Missed(leads=True))
    ask(redis, answers, good=False)
    assert redis.asked[1:] == ["alone"]
    redis = Redis(Missed())
    ask(redis, answers, good=False)
    assert redis.asked[1:] == []


@pytest.mark.parametrize(
    ("error", "left"),
    [
        (RateLimitedError("busy"), "next"),
        (AgentFailedError("bad"), "alone"),
        (asyncio.CancelledError(), "next"),
    ],
)
def test_who_fails_lets_others_ask(error: BaseException, left: str) -> None:
    redis = Redis(Missed(leads=True))

    async def fail() -> Answer:
        raise error

    with pytest.raises(type(error)):
        ask(redis, fail)
    assert redis.asked[1:] == [left]


def test_a_leader_renews_its_lease_while_it_asks() -> None:
    redis = Redis(Missed(leads=True))

    async def slow() -> Answer:
        await redis.renewed.wait()
        return await answers()

    ask(redis, slow, lease_s=0.006)
    assert isinstance(redis.asked[-1], tuple)


def test_who_finds_a_leader_waits_for_its_answer() -> None:
    with pytest.raises(AwaitsAnswerError, match="answer of gpt") as raised:
        ask(Redis(Taken(3.0)))
    assert not raised.value.attempted
    assert raised.value.refusal == waiting.Awaits(ASKED, 3.0)


def test_a_process_may_keep_none() -> None:
    assert local_answers(0) is None


@pytest.fixture
def woken(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    monkeypatch.setattr(waiting, "WOKEN_MAX", 2)
    return []


def test_many_are_woken_by_portions_and_a_failure_is_noted(
    woken: list[Sequence[str]], runtime: Any
) -> None:
    def wake(ids: Sequence[str]) -> None:
        woken.append([*ids])
        raise RateLimitedError("away")

    followers = waiting.Followers(Redis(), wake, lambda: runtime.loop)  # type: ignore[arg-type]
    followers.wake(["a", "b", "c"])
    runtime.loop.blocking.shutdown(wait=True)
    assert sorted(map(list, woken)) == [["a", "b"], ["c"]]
