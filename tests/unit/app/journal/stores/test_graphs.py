"""Threads of LangGraph's graphs in a journal: fenced, encrypted, gone with their run."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any, TypedDict

import pytest

pytest.importorskip("langgraph", reason="needs the extra langgraph")

from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt
from sqlalchemy import select, update

from agents.current import CURRENT, Current
from agents.frameworks.langgraph_saver import STEP, StepSaver
from app.journal import Journal
from app.journal.retention.cleanup import Retention, clean_journal
from app.journal.schema.engine import now
from app.journal.schema.models import Entry, Run
from app.journal.schema.rows import Claimed
from app.journal.stores.encryption import Encryption
from app.journal.stores.graphs import GraphStore
from celery_agents.errors import StepCancelledError
from celery_agents.sealing import Seals
from tests.support.fernet import fernet_key
from tests.unit.app.journal.support import DONE, SOON, World, claimed, step

SECRET = "a secret text"
OLD_S = 100 * 86_400.0


class Said(TypedDict, total=False):
    said: str
    answer: str


def asking() -> Any:
    """A graph that says something, and asks."""

    def say(state: Said) -> Any:
        return {"said": f"{state['said']} indeed"}

    def ask(state: Said) -> Any:
        return {"answer": interrupt(f"{state['said']}?")}

    graph: Any = StateGraph(Said)
    graph.add_node("say", say).add_node("ask", ask).add_edge(START, "say").add_edge("say", "ask")
    return graph.compile(checkpointer=StepSaver())


def in_step(world: World, claim: Claimed, work: Callable[[Any], Any], tenant: str = "") -> Any:
    """Have a graph work in the code of a step."""
    lines = GraphStore(world.engine, tenant, claim)
    own: Any = SimpleNamespace(run_id=claim.id, graphs=lines)
    context = copy_context()
    context.run(CURRENT.set, Current(own, None))  # type: ignore[arg-type]  # it makes no calls
    return context.run(work, asking())


def named(thread: str) -> Any:
    return {"configurable": {"thread_id": thread}}


def entries(world: World) -> list[Any]:
    with world.engine.connect() as c:
        return list(c.execute(select(Entry.stream, Entry.kind, Entry.key, Entry.data)).all())


def test_a_worker_that_has_lost_its_step_writes_nothing(world: World, journal: Journal) -> None:
    stale, thread = claimed(journal, "s", step("s")), named(f"{STEP}s")
    in_step(world, stale, lambda graph: graph.invoke({"said": "hi"}, thread, durability="sync"))
    before = entries(world)
    assert before

    def goes_on(graph: Any) -> Any:
        return graph.invoke(Command(resume="yes"), thread, durability="sync")

    world.set("s", token=stale.token + 1)  # another worker has taken it over
    for work in (goes_on, lambda graph: graph.checkpointer.delete_thread(f"{STEP}s")):
        with pytest.raises(StepCancelledError):
            in_step(world, stale, work)
    assert entries(world) == before
    # The other one goes on from where the first had come.
    mine = replace(stale, token=stale.token + 1)
    assert in_step(world, mine, goes_on) == {"said": "hi indeed", "answer": "yes"}


def _say(thread: Any, graph: Any) -> None:
    graph.invoke({"said": "x"}, thread)


def test_a_thread_of_a_step_goes_with_its_run(world: World, journal: Journal) -> None:
    for run in ("old", "new"):
        claim = claimed(journal, run, step(run))
        for thread in map(named, (f"{STEP}{run}", f"named-{run}")):
            in_step(world, claim, partial(_say, thread))
        journal.finish(claim, DONE).result(SOON)
    ago = now() - OLD_S
    with world.engine.begin() as c:
        c.execute(update(Run).where(Run.id == "old").values(created_at=ago, finished_at=ago))
    keep = Retention(succeeded_days=30, others_days=60, dead_letters_days=20)
    clean_journal(world.engine, keep, batch=10, sleep=lambda _: None)
    kept = {row.stream for row in entries(world)}
    assert kept == {"graph/step/new", "graph/thread/named-old", "graph/thread/named-new"}


def readable(world: World) -> bytes:
    """All that stands in the entries, and what it is written in base64 for."""
    told = json.dumps([tuple(row) for row in entries(world)])
    pieces = re.findall(r'"base64": "([^"]*)"', told)
    return told.encode() + b"".join(map(base64.b64decode, pieces))


@pytest.mark.parametrize("encrypted", [True, False])
def test_what_a_graph_keeps_is_encrypted_and_read_again(
    journal_url: str, *, encrypted: bool
) -> None:
    there = World(journal_url, Seals([fernet_key("old")]) if encrypted else None)
    journal, thread = there.journal(), named(f"{STEP}s")
    Encryption(journal.engine).begin()
    claim = claimed(journal, "s", step("s"))
    in_step(there, claim, lambda graph: graph.invoke({"said": SECRET}, thread))
    assert (SECRET.encode() in readable(there)) is not encrypted
    state = in_step(there, claim, lambda graph: graph.get_state(thread))
    assert [one.value for one in state.interrupts] == [f"{SECRET} indeed?"]
    there.close()


def test_a_tenants_threads_are_its_own(world: World, journal: Journal) -> None:
    claim, thread = claimed(journal, "s", step("s")), named("t")

    def state(tenant: str) -> Any:
        return in_step(world, claim, lambda graph: graph.get_state(thread).values, tenant)

    in_step(world, claim, lambda graph: graph.invoke({"said": "hi"}, thread), "mine")
    assert state("theirs") == {}
    in_step(world, claim, lambda graph: graph.checkpointer.delete_thread("t"), "theirs")
    assert state("mine") == {"said": "hi indeed"}
