"""Keys of a journal: which values need which, who may start without one, and a new one's turn."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from app.journal import Journal
from app.journal.queries import details, pages, reads
from app.journal.queries.pages import PageOfRun
from app.journal.schema.engine import connect
from app.journal.schema.models import Call, DeadLetter, Entry, Step
from app.journal.schema.rows import NewExchange, derived_id
from app.journal.schema.sealed import opened_claim, sealed_answer
from app.journal.steps import approvals, dead_letters
from app.journal.stores.encryption import Encryption
from app.journal.tables import encryption
from celery_agents import names
from celery_agents.contracts.outcome import Outcome, State
from celery_agents.errors import ConfigurationError, UnreadableValueError
from celery_agents.sealing import KEYS, Seals, key_id
from tests.support.fernet import fernet_key
from tests.unit.app.journal.support import SOON, World, claimed, finished, member, plan, step

OLD, NEW = fernet_key("old"), fernet_key("new")
BEFORE, BOTH, AFTER = Seals([OLD]), Seals([NEW, OLD]), Seals([NEW])
SECRET = "a secret text"
SAID = Outcome(state=State.SUCCEEDED, value=SECRET)


@pytest.fixture
def sealed(journal_url: str) -> Iterator[World]:
    made = World(journal_url, BEFORE)
    yield made
    made.close()


def store(world: World, seals: Seals | None) -> Encryption:
    return Encryption(connect(world.url, seals=seals))


def values(world: World) -> Journal:
    """A value in each place: a run with members, a call, an exchange, an answer of a person."""
    journal = world.journal()
    Encryption(journal.engine).begin()
    long = f"{SECRET} {'x' * 600}"
    told = {"args": [SECRET], "kwargs": {"agent": "a", "instructions": long}}
    claim = claimed(journal, "s", step("s", payload=told))
    journal.sessions.hold(claim, "talk", 100).result(SOON)
    journal.start_call(claim, 0, "c", "identity", "key").result(SOON)
    answer = sealed_answer(BEFORE, {"value": SECRET}, "s", "identity")
    journal.finish_call(claim, 0, answer).result(SOON)
    said = NewExchange({"agent": "a", "messages": [{"role": "user", "content": SECRET}]}, 1)
    journal.finish(claim, SAID, said).result(SOON)
    parent: Any = opened_claim(BEFORE, claimed(journal, "p", step("p", payload=told)))
    asks = member("ask", input=long)
    wish = member("wish", input={"question": SECRET}, task=names.APPROVAL, waits=True)
    expanded = plan().model_copy(update={"members": (asks, wish)})
    journal.expand(parent, expanded).result(SOON)
    journal.approve("p", SECRET, derived_id("p", "wish"))
    raw = json.dumps({"body": json.dumps([[], BEFORE.seal(SECRET, "m", "payload"), {}])})
    with world.engine.begin() as c:
        row = {"id": "d", "cause": "unknown_task", "reason": "-", "queue": "q", "payload": "-"}
        packed = base64.b64encode(raw.encode()).decode()
        c.execute(insert(DeadLetter).values({**row, "raw": packed, "size": len(raw), "at": 1.0}))
    return journal


def columns(world: World) -> str:
    """All that stands in the places where something may be encrypted."""
    with world.engine.connect() as c:
        rows = [c.execute(select(place.model.__table__)).all() for place in encryption.PLACES]
    return repr(rows)


def test_each_value_is_encrypted_and_read_again(sealed: World) -> None:
    journal = values(sealed)
    assert SECRET not in columns(sealed)
    ended: Any = opened_claim(BEFORE, finished(journal, "s"))
    assert ended.outcome == SAID
    assert ended.payload["args"] == [SECRET]
    assert journal.finished_calls("s") == {"identity": {"value": SECRET}}
    [exchange] = journal.sessions.page("", "talk", -1)["exchanges"]
    assert exchange["messages"] == [{"role": "user", "content": SECRET}]
    asks: Any = opened_claim(BEFORE, claimed(journal, derived_id("p", "ask")))
    assert journal.parents.whole(asks).payload["args"][0].startswith(SECRET)
    assert journal.members("p")[1].outcome.value == SECRET  # type: ignore[union-attr]
    with sealed.engine.connect() as c:
        tree = reads.run_tree(c, "s", values=True)
        page = pages.run_page(c, PageOfRun(run_id="s"))
        told = details.run_details(c, "s", answers=True)
        [approved] = [e for e in reads.events(c, "p") if e["kind"] == "approved"]
    assert tree is not None
    assert page is not None
    assert told is not None
    assert [tree["steps"][0]["value"], page["value"], told["answers"]["s"]] == [SECRET] * 3
    assert SECRET in page["asked"]
    assert approved["data"] == {"option": SECRET}


def test_a_tally_reads_members_behind_their_keys(sealed: World) -> None:
    journal = sealed.journal()
    claim = claimed(journal, "p", step("p"))
    journal.expand(claim, plan("a", "b")).result(SOON)
    for key in ("a", "b"):
        journal.finish(claimed(journal, derived_id("p", key)), SAID).result(SOON)
    assert journal.tally("p", values_within=10_000).values == (SECRET, SECRET)
    sealed.set(derived_id("p", "a"), outcome=BEFORE.seal_outcome(SAID, "other").compact())
    one, other = [outcome for _, outcome in journal.results("p", -1)["outcomes"]]
    assert (one["state"], one["error"]["kind"], other["value"]) == ("failed", "unreadable", SECRET)
    with pytest.raises(UnreadableValueError):
        journal.members("p")


def test_a_value_of_another_step_is_not_read(sealed: World) -> None:
    journal = values(sealed)
    with sealed.engine.begin() as c:
        moved = select(Step.payload, Step.outcome).where(Step.id == "s")
        payload, outcome = c.execute(moved).one()
        c.execute(update(Step).where(Step.id == "p").values(payload=payload, outcome=outcome))
        c.execute(update(Entry).values(run_id="p"))
        c.execute(update(Call).values(fingerprint="other"))
    with sealed.engine.connect() as c:
        page = pages.run_page(c, PageOfRun(run_id="p"))
        letter = dead_letters.find(c, "p")
    assert page is not None
    assert letter is None
    assert page["value"].startswith("(unreadable: An encrypted value stands where")
    assert page["asked"].startswith("(unreadable: ")
    [exchange] = journal.sessions.page("", "talk", -1)["exchanges"]
    assert exchange["messages"][0]["content"].startswith("(unreadable: ")
    with pytest.raises(UnreadableValueError):
        journal.finished_calls("s")


def test_a_wish_that_cannot_be_read_is_listed_as_such(sealed: World) -> None:
    journal = sealed.journal()
    claim = claimed(journal, "p", step("p"))
    wish = member("wish", input={"question": SECRET}, task=names.APPROVAL, waits=True)
    journal.expand(claim, plan().model_copy(update={"members": (wish,)})).result(SOON)
    with connect(sealed.url, seals=AFTER).connect() as c:
        [told] = approvals.wishes(c, None, 10)
    assert told["question"].startswith("(unreadable: ")


def test_a_missing_key_stops_the_start_with_how_many_values_need_it(sealed: World) -> None:
    values(sealed)
    needed = store(sealed, BEFORE).count()
    assert needed == {key_id(OLD): 10}
    for seals in (AFTER, None):
        told = f"10 values the key {key_id(OLD)}, which {KEYS} has not here"
        with pytest.raises(ConfigurationError, match=told):
            store(sealed, seals).begin()
    store(sealed, BOTH).begin()


def test_a_key_that_nothing_needs_may_go(sealed: World) -> None:
    store(sealed, BEFORE).begin()
    store(sealed, AFTER).begin()
    with sealed.engine.connect() as c:
        assert encryption.keys_in_use(c) == [key_id(NEW)]


def test_without_keys_nothing_is_looked_for(world: World) -> None:
    store(world, None).begin()
    with world.engine.connect() as c:
        assert encryption.keys_in_use(c) == []
    with pytest.raises(ConfigurationError, match=KEYS):
        store(world, None).rotate()


def test_a_new_key_takes_over_everywhere(sealed: World) -> None:
    values(sealed)
    done, left = store(sealed, BOTH).rotate()
    assert (done, left) == (10, {})
    assert store(sealed, AFTER).count() == {key_id(NEW): 10}
    store(sealed, AFTER).begin()
    with connect(sealed.url, seals=AFTER).connect() as c:
        tree = reads.run_tree(c, "s", values=True)
    assert tree is not None
    assert tree["steps"][0]["value"] == SECRET
    assert store(sealed, BOTH).rotate() == (0, {})


def test_portions_and_what_a_rotation_cannot_read(
    sealed: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encryption, "PORTION", 1)
    values(sealed)
    with pytest.raises(ConfigurationError):
        store(sealed, AFTER).rotate()
    broken = {"value": {"$enc": f"{key_id(OLD)}:gAAAAABbroken"}, "state": "succeeded"}
    sealed.set("s", outcome=broken)
    done, left = store(sealed, BOTH).rotate()
    assert (done, left) == (9, {key_id(OLD): 1})
    with pytest.raises(ConfigurationError, match="1 values"):
        store(sealed, AFTER).begin()


def test_a_rotation_overwrites_nothing(sealed: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that changes between the look and the write keeps what it has by then."""
    values(sealed)
    whole, changed = encryption.write, threading.Event()

    def late(connection: Any, place: Any, key: Any, old: str, **new: str) -> bool:
        if not changed.is_set() and place.model is Step and "outcome" in new:
            changed.set()
            old += " "
        return whole(connection, place, key, old, **new)

    monkeypatch.setattr(encryption, "write", late)
    done, left = store(sealed, BOTH).rotate()
    assert changed.is_set()
    assert (done, left) == (10, {})  # in the next pass
