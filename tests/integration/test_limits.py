"""Limits of a whole run hold, whoever it waits for: members, a judge, a supervisor, a person."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from celery_agents.errors import AgentsError, InvalidPayloadError
from tests.integration.harness import FAST, SOON_S, Stack, eventually
from tests.support.drawn import in_turn
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.databases("sqlite")

LIMIT_S = 1.5
SPLIT: dict[str, Any] = {"rule": "unanimous", "stop": "none"}
WAITS: dict[str, Any] = {"seconds": 60}
#: By name: the verb, its positional arguments, its options, and the error's kind.
RUNS: dict[str, tuple[str, tuple[Any, ...], dict[str, Any], str]] = {
    "a person": ("vote", (["yes", "no"], WAITS), {**SPLIT, "escalate": "person"}, "no_decision"),
    "a supervisor": ("vote", (["yes", "no"], WAITS), {**SPLIT, "escalate": "slow"}, "no_decision"),
    "a supervisor's backup": (
        "vote",
        (["yes", "no"], WAITS),
        {**SPLIT, "escalate": {"kind": "supervisor", "agent": "refused", "backups": ["hangs"]}},
        "no_decision",
    ),
    "voters": ("vote", (["slow", "slow"], WAITS), {}, "no_decision"),
    "a judge": (
        "gather",
        (["yes", "no"], WAITS),
        {"how": "best", "judge": "hangs"},
        "timeout",
    ),
    "gathered agents": ("gather", (["slow", "slow"], WAITS), {}, "all_failed"),
    "a candidate": ("fallback", (["slow", "noop"], WAITS), {}, "all_failed"),
    "raced candidates": (
        "fallback",
        (["slow", "hangs"], WAITS),
        {"strategy": "parallel"},
        "all_failed",
    ),
    "hedged candidates": (
        "fallback",
        ([{"agent": "slow", "name": n} for n in "abc"], WAITS),
        {"strategy": "hedged", "hedge": {"delay_s": 1.0, "share": 1.0}},
        "all_failed",
    ),
    "one candidate between two attempts": (
        "fallback",
        (["flaky"], {"until": 3, "retry_after_s": 60}),
        {"retry": {"max_attempts": 4}},
        "all_failed",
    ),
    "mapped inputs": ("map", ("slow", [WAITS, WAITS]), {}, "cancelled"),
    "an agent": ("ask", ("slow", WAITS), {"retry": {"max_attempts": 3}}, "timeout"),
}


@pytest.fixture(scope="module")
def limited(
    shared_broker: RedisServer, _migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """A worker of this module alone; nothing here harms it."""
    directory = tmp_path_factory.mktemp("limits")
    modules = "tests.support.agents,tests.support.voters"
    made = Stack(
        shared_broker.fresh_url(),
        f"sqlite:///{directory / 'journal.db'}",
        directory,
        {**FAST, "AGENTS_MODULES": modules},
    )
    made.redis.flushdb()
    made.worker()
    yield made
    made.close()


LIMITS = [{"timeout_s": LIMIT_S}, {"deadline_s": LIMIT_S}, {"timeout_s": LIMIT_S, "deadline_s": 50}]


@pytest.mark.parametrize(
    ("name", "limits"),
    [(name, limits) for n, name in enumerate(RUNS) for limits in in_turn(LIMITS, n, part=3)],
    ids=lambda about: " and ".join(about) if isinstance(about, dict) else about,
)
def test_the_limit_holds(limited: Stack, name: str, limits: dict[str, float]) -> None:
    verb, args, options, kind = RUNS[name]
    if verb == "ask":  # its timeout is of one attempt
        limits = {"deadline_s": LIMIT_S}
    began = time.monotonic()
    run = getattr(limited.client, verb)(*args, **options, **limits)
    with pytest.raises(AgentsError) as ended:
        run.get(timeout=SOON_S)
    assert time.monotonic() - began < SOON_S
    assert ended.value.kind == kind
    assert eventually(lambda: limited.state(run.id)) == "failed"
    eventually(lambda: not _open(limited, run.id), "its members to end")


def _open(stack: Stack, run_id: str) -> list[str]:
    tree = stack.client.runs.status(run_id)
    assert tree is not None
    return [s["id"] for s in tree["steps"] if s["state"] in {"ready", "running", "waiting"}]


def test_a_person_who_answers_in_time_is_heard_and_one_who_is_late_is_told(limited: Stack) -> None:
    def waiting() -> Any:
        return limited.client.vote(["yes", "no"], "?", **SPLIT, escalate="person", timeout_s=20)

    run = waiting()
    eventually(lambda: "waiting" in {m.state for m in limited.members(run.id).values()})
    limited.client.runs.approve(run.id, "yes")
    assert run.get(timeout=SOON_S).decided_by == "person"

    late = limited.client.vote(["yes", "no"], "?", **SPLIT, escalate="person", timeout_s=3.0)
    with pytest.raises(AgentsError, match="the person did not answer in time"):
        late.get(timeout=SOON_S)
    with pytest.raises(InvalidPayloadError, match="Nothing"):
        limited.client.runs.approve(late.id, "yes")
