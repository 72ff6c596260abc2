"""One message does not become many times its bytes in the journal, whatever it asks for."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from celery import chain
from sqlalchemy import Text, cast, func, select

from app.journal.schema.models import Step
from celery_agents import Client
from tests.fakes.model_server import Does, ModelServer
from tests.integration.harness import SOON_S, Stack, eventually

pytestmark = pytest.mark.databases("sqlite")

KB = 1_000
#: Beside what is fixed for each row: names, policies and where its parts are.
ROW = 500


def stored(stack: Stack, run_id: str) -> tuple[int, int]:
    """Rows, and the bytes of what they were told and of what follows them."""
    text = [func.coalesce(func.length(cast(c, Text)), 0) for c in (Step.payload, Step.envelope)]
    query = select(func.count(), func.sum(text[0] + text[1])).where(Step.run_id == run_id)
    return stack.read(lambda c: tuple(c.execute(query).one()))


BIG = "b" * 100 * KB
#: What is asked, the bytes of its message, and the rows that it takes.
VERBS: dict[str, tuple[Callable[[Client], Any], int, int]] = {
    "ask": (lambda c: c.ask("noop", BIG), 100 * KB, 1),
    "map": (lambda c: c.map("noop", [0] * 100, instructions=BIG), 101 * KB, 101),
    "map of large inputs": (
        lambda c: c.map("noop", ["b" * 20 * KB] * 10, choices=["x" * 200] * 50),
        210 * KB,
        11,
    ),
    "vote": (lambda c: c.vote(["yes"] * 30, BIG, stop="none"), 101 * KB, 31),
    "vote of samples": (
        lambda c: c.vote([{"agent": "yes", "samples": 25}], "?", instructions=BIG, stop="none"),
        101 * KB,
        26,
    ),
    "gather": (lambda c: c.gather(["yes"] * 30, BIG, how="concat"), 101 * KB, 31),
    "fallback": (
        lambda c: c.fallback(["bad", "refused", "yes"], BIG, instructions=BIG),
        200 * KB,
        4,
    ),
}


def test_rows_hold_what_came_in_not_its_copies(common: Stack) -> None:
    runs = {verb: ask(common.client) for verb, (ask, _, _) in VERBS.items()}
    for verb, run in runs.items():
        run.get(timeout=2 * SOON_S)
        _, size, rows = VERBS[verb]
        made, held = stored(common, run.id)
        assert (verb, made) == (verb, rows)
        assert held <= 2 * size + ROW * rows, verb


def test_what_follows_is_not_kept_by_each_link(common: Stack) -> None:
    links = [common.client.ask.s("noop", instructions="i" * 5 * KB) for _ in range(20)]
    result = chain(*links).delay("on and on")
    assert result.get(timeout=2 * SOON_S) == "on and on"
    eventually(lambda: not common.unsettled())
    found = []
    while result is not None:
        found.append(stored(common, result.id))
        result = result.parent
    assert [rows for rows, _ in found] == [1] * 20
    assert sum(held for _, held in found) <= 2 * 20 * 5 * KB + ROW * 20


def test_members_are_told_all_of_it(client: Client, stack: Stack, model: ModelServer) -> None:
    instructions = "Sort it. " + "s" * 50 * KB
    model.script(Does(text="done"))
    found = client.map("gpt", ["one", "two"], instructions=instructions).get(timeout=SOON_S)
    assert found.results == ("done", "done")
    assert len(model.requests) == 2
    assert all(instructions in json.dumps(seen.body) for seen in model.requests)
