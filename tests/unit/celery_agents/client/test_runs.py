"""What the groups ask the workers, and how it is read; their waiting is in test_waiting.py."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest
import redis

from celery_agents import names
from celery_agents.client.client import Client
from celery_agents.contracts.budgets import BudgetPolicy, BudgetState, Spent
from celery_agents.contracts.caching import CacheState
from celery_agents.contracts.conversation import ChatMessage
from celery_agents.contracts.limits import LimitPolicy, LimitState
from celery_agents.contracts.outcome import Outcome, State
from celery_agents.contracts.session import SessionExchange, SessionInfo
from celery_agents.contracts.tenants import TenantState
from celery_agents.errors import InvalidPayloadError
from celery_agents.wire import messages
from tests.support.stored_results import worker_says

DONE = Outcome(state=State.SUCCEEDED, value=1)
SPENT = BudgetState(name="b", policy=BudgetPolicy(usd=1), spent=Spent(nano_usd=7))
FULL = LimitState(name="gpt", policy=LimitPolicy(concurrent=2), in_use=2, waiting=7)
ACME = TenantState(name="acme", queue="agents", queued=3, in_flight=1, weight=2.0, oldest_s=4.5)
CHAT = SessionInfo(name="s", tenant="t", exchanges=3, created_at=1.0, changed_at=2.0)


@pytest.fixture
def client(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """One whose questions have the ids q0, q1, …, so that they can be answered before."""
    numbers = count()
    monkeypatch.setattr(messages, "new_id", lambda: f"q{next(numbers)}")
    with Client(redis_url) as made:
        yield made


def asked(store: Any) -> list[tuple[str, list[Any], bool]]:
    """Task, arguments and whether it is recorded, of what the workers were sent."""
    sent = [json.loads(raw) for raw in reversed(store.lrange("agents.control\x06\x165", 0, -1))]
    return [
        (m["headers"]["task"], json.loads(m["body"])[0], names.INTAKE in m["headers"]) for m in sent
    ]


CACHED = CacheState(name="gpt", entries=2, misses=3, saved_usd=0.25)


@pytest.mark.parametrize(
    ("call", "question", "answer", "found"),
    [
        (lambda c: c.runs.status("r"), (names.STATUS, ["r"]), {"steps": []}, {"steps": []}),
        (lambda c: c.runs.status("r"), (names.STATUS, ["r"]), None, None),
        (lambda c: c.runs.handle("r").status(), (names.STATUS, ["r"]), None, None),
        (lambda c: c.runs.approve("r", "yes"), (names.APPROVE, ["r", "yes"]), None, None),
        (lambda c: c.sessions.list(), (names.SESSIONS, ["", 100]), [], []),
        (
            lambda c: c.sessions.list(tenant="t", limit=5),
            (names.SESSIONS, ["t", 5]),
            [CHAT.compact()],
            [CHAT],
        ),
        (
            lambda c: c.sessions.fork("s", "copy"),
            (names.FORK, ["s", "copy", None, ""]),
            3,
            3,
        ),
        (
            lambda c: c.sessions.fork("s", "copy", upto=2, tenant="t"),
            (names.FORK, ["s", "copy", 2, "t"]),
            2,
            2,
        ),
        (lambda c: c.sessions.delete("s"), (names.FORGET, ["s", ""]), True, True),
        (lambda c: c.sessions.delete("s", tenant="t"), (names.FORGET, ["s", "t"]), False, False),
        (lambda c: c.limits.list(), (names.LIMITS, []), [FULL.compact()], [FULL]),
        (lambda c: c.tenants(), (names.TENANTS, []), [ACME.compact()], [ACME]),
        (lambda c: c.limits.pause("gpt"), (names.PAUSE, ["gpt", None]), None, None),
        (lambda c: c.limits.pause("gpt", 5.0), (names.PAUSE, ["gpt", 5.0]), None, None),
        (lambda c: c.budgets(), (names.BUDGETS, [None]), [SPENT.compact()], [SPENT]),
        (lambda c: c.budgets(tenant="a"), (names.BUDGETS, ["a"]), [], []),
        (
            lambda c: c.budgets.release("b", "a"),
            (names.RELEASE, ["b", "a"]),
            {"calls": 2},
            Spent(calls=2),
        ),
        (lambda c: c.limits.resume("gpt"), (names.RESUME, ["gpt"]), None, None),
        (lambda c: c.cache.list(), (names.CACHES, []), [CACHED.compact()], [CACHED]),
        (lambda c: c.cache.clear(), (names.UNCACHE, [None]), 5, 5),
        (lambda c: c.cache.clear("gpt"), (names.UNCACHE, ["gpt"]), 2, 2),
        (lambda c: c.dead_letters.list(), (names.DEAD_LETTERS, [100]), [{"id": 1}], [{"id": 1}]),
        (lambda c: c.dead_letters.list(5), (names.DEAD_LETTERS, [5]), [], []),
        (lambda c: c.dead_letters.get("l"), (names.DEAD_LETTER, ["l"]), None, None),
        (lambda c: c.dead_letters.requeue("l"), (names.REQUEUE, ["l"]), None, None),
        (lambda c: c.dead_letters.drop("l"), (names.DROP, ["l"]), True, True),
        (lambda c: c.dead_letters.drop("l"), (names.DROP, ["l"]), False, False),
    ],
)
def test_a_question_and_its_answer(
    client: Client,
    store: redis.Redis,
    *,
    call: Callable[[Client], Any],
    question: tuple[str, list[Any]],
    answer: Any,
    found: Any,
) -> None:
    worker_says(client, "q0", answer)
    assert call(client) == found
    assert asked(store) == [(*question, False)]


@pytest.mark.parametrize("way", ["group", "run"])
def test_a_cancellation_is_recorded(client: Client, store: redis.Redis, way: str) -> None:
    (client.runs.cancel("r") if way == "group" else client.runs.handle("r").cancel())
    assert asked(store) == [(names.CANCEL, ["r"], True)]


def test_results_are_read_page_by_page(client: Client, store: redis.Redis) -> None:
    outcome = DONE.compact()
    worker_says(client, "q0", {"outcomes": [[0, outcome], [2, outcome]], "more": 2})
    worker_says(client, "q1", {"outcomes": [[5, outcome]], "more": None})
    assert list(client.runs.results("r")) == [(0, DONE), (2, DONE), (5, DONE)]
    assert [args for _, args, _ in asked(store)] == [["r", -1], ["r", 2]]
    assert not [*store.scan_iter("celery-task-meta-*")]  # read once, kept no longer


def test_sessions_are_read_page_by_page(client: Client, store: redis.Redis) -> None:
    said = [
        SessionExchange(
            place=n, at=1.0, tokens=5, messages=(ChatMessage(role="user", content="?"),)
        )
        for n in range(3)
    ]
    pages = [e.model_dump(mode="json", exclude_defaults=True) for e in said]
    worker_says(client, "q0", {"exchanges": pages[:2], "more": 1})
    worker_says(client, "q1", {"exchanges": pages[2:], "more": None})
    assert list(client.sessions.read("s", tenant="t")) == said
    assert [args for _, args, _ in asked(store)] == [["s", -1, "t"], ["s", 1, "t"]]
    assert not [*store.scan_iter("celery-task-meta-*")]


@pytest.mark.parametrize(
    ("call", "place"),
    [
        (lambda c: [*c.sessions.read("")], "session: "),
        (lambda c: [*c.sessions.read("s", after=-2)], "after: "),
        (lambda c: c.sessions.list(tenant="\0"), "tenant: "),
        (lambda c: c.sessions.fork("s", "x" * 181), "copy: "),
        (lambda c: c.sessions.fork("s", "copy", upto=-1), "upto: "),
        (lambda c: c.sessions.delete("\ud800"), "session: "),
    ],
)
def test_what_is_no_session(client: Client, store: redis.Redis, call: Any, place: str) -> None:
    with pytest.raises(InvalidPayloadError, match=place):
        call(client)
    assert asked(store) == []


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.runs.handle(""),
        lambda c: c.runs.status("a\0"),
        lambda c: c.dead_letters.get(7),
        lambda c: c.dead_letters.requeue("x" * 156),
    ],
)
def test_what_is_no_id(client: Client, store: redis.Redis, call: Any) -> None:
    with pytest.raises(InvalidPayloadError, match="id: "):
        call(client)
    assert asked(store) == []
