"""Keys of a journal: which values need which, who may start without one, and a new one's turn."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from agents.plan import AwaitedAny
from app.journal import Journal
from app.journal.queries import details, pages, reads
from app.journal.queries.pages import PageOfRun
from app.journal.schema.engine import connect
from app.journal.schema.models import Call, DeadLetter, Entry, Step
from app.journal.schema.rows import NewEntry, NewExchange, derived_id
from app.journal.schema.sealed import opened_claim, sealed_answer, sealed_step
from app.journal.steps import approvals, dead_letters
from app.journal.stores.desk import Desk
from app.journal.stores.encryption import Encryption
from app.journal.stores.posted import PostedAgents
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
    PostedAgents(journal.engine).put("posted", {"kind": "http", "instructions": SECRET}, "me")
    return journal


FLOW, HISTORY = "flow-1", "flow/flow-1"


def lasting(world: World) -> Journal:
    """A flow that waits with a line of its history, a member that ended, a signal, an entry."""
    journal = world.journal()
    Encryption(journal.engine).begin()
    new = step(FLOW, task=names.FLOW, agent=None, payload={"args": [SECRET], "kwargs": {}})
    begins = {"key": "", "at": 1.0, "value": SECRET, "then": [["1", "ask", "a", "digest"]]}
    waits = plan("1", kind="any").model_copy(update={"awaited": AwaitedAny(open=("1",))})
    line = NewEntry("", HISTORY, "started", begins)
    journal.expand(claimed(journal, FLOW, new), waits, entries=[line]).result(SOON)
    said = NewEntry("", "order/7", "paid", {"sum": SECRET}, "payment-1")
    ended = claimed(journal, derived_id(FLOW, "1"))
    journal.finish(ended, SAID, entries=[said]).result(SOON)
    journal.flows.signal(FLOW, ("approve", SECRET), "click", journal.rules)
    journal.streams.append("", "order/7", [NewEntry("", "order/7", "sent", {"to": SECRET})])
    return journal


def instructions(world: World, seals: Seals | None) -> str:
    """Those of the agent that was made over the API, as a worker is told them."""
    stored = PostedAgents(connect(world.url, seals=seals))
    [row] = stored.read()[1]
    return str(stored.opened(row["name"], row["entry"])["instructions"])


def columns(world: World) -> str:
    """All that stands in the places where something may be encrypted."""
    with world.engine.connect() as c:
        rows = [c.execute(select(place.model.__table__)).all() for place in encryption.PLACES]
    return repr(rows)


@pytest.mark.databases("both")
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
    assert instructions(sealed, BEFORE) == SECRET
    assert approved["data"] == {"option": SECRET}


def test_what_flows_and_streams_have_is_encrypted_and_read_again(sealed: World) -> None:
    journal = lasting(sealed)
    assert SECRET not in columns(sealed)
    [(seq, kind, line)] = journal.flows.lines("", FLOW)
    assert seq == 0
    assert (kind, line["value"], line["then"]) == ("started", SECRET, [["1", "ask", "a", "digest"]])
    assert journal.flows.page(FLOW, 0, 10)[0]["value"] == SECRET
    news = journal.flows.news(claimed(journal, FLOW), ["1"], -1)
    assert [(e.member, e.outcome["value"]) for e in news.ends] == [("1", SECRET)]
    assert [(s.seq, s.name, s.value) for s in news.signals] == [(0, "approve", SECRET)]
    read = journal.streams.read("", "order/7", -1, 10)
    assert [(e["key"], e["data"]) for e in read] == [
        ("payment-1", {"sum": SECRET}),
        (None, {"to": SECRET}),
    ]
    assert journal.streams.follow("", "reader", "order/", 10)[0] == read
    assert SECRET in repr(journal.flows.open())


def test_an_entry_of_another_place_is_not_read(sealed: World) -> None:
    """Neither one that was moved within its stream, nor one of another stream."""
    journal = lasting(sealed)
    moved = select(Entry.data).where(Entry.stream == "order/7", Entry.seq == 0).scalar_subquery()
    with sealed.engine.begin() as c:
        c.execute(update(Entry).where(Entry.stream == "order/7").values(data=moved))
        c.execute(update(Entry).where(Entry.stream == HISTORY).values(data=moved))
    assert journal.streams.read("", "order/7", -1, 1)[0]["data"] == {"sum": SECRET}
    with pytest.raises(UnreadableValueError, match="does not belong"):
        journal.streams.read("", "order/7", 0, 1)
    with pytest.raises(UnreadableValueError):
        journal.streams.follow("", "reader", "order/", 10)
    with pytest.raises(UnreadableValueError):
        journal.flows.lines("", FLOW)
    [line] = journal.flows.page(FLOW, 0, 10)
    assert line["value"].startswith("(unreadable: ")


def test_a_new_key_takes_over_flows_and_streams(sealed: World) -> None:
    lasting(sealed)
    assert store(sealed, BOTH).count() == {key_id(OLD): 7}
    assert store(sealed, BOTH).rotate() == (7, {})
    store(sealed, AFTER).begin()
    after = World(sealed.url, AFTER)
    journal = after.journal("other@here")
    assert journal.flows.lines("", FLOW)[0].data["value"] == SECRET
    assert journal.flows.news(claimed(journal, FLOW), ["1"], -1).signals[0].value == SECRET
    assert journal.streams.read("", "order/7", -1, 10)[1]["data"] == {"to": SECRET}
    after.close()


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


@pytest.mark.databases("both")
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


def test_an_agent_of_the_api_has_instructions_that_others_cannot_read(sealed: World) -> None:
    values(sealed)
    for seals in (AFTER, None):
        with pytest.raises(UnreadableValueError):
            instructions(sealed, seals)
    stored = PostedAgents(sealed.journal().engine)
    plain = {"kind": "http", "instructions": SECRET}
    assert stored.opened("earlier", plain) == plain  # of before there were keys
    assert stored.opened("none", {"kind": "http"}) == {"kind": "http"}
    [row] = stored.read()[1]
    with pytest.raises(UnreadableValueError):  # moved to another name
        stored.opened("other", row["entry"])


def test_one_row_that_cannot_be_read_is_told_as_such_and_others_as_they_are(
    sealed: World,
) -> None:
    journal = sealed.journal()
    told = {"args": [SECRET], "kwargs": {}}
    for name in ("a", "b"):
        journal.insert(sealed_step(BEFORE, step(name, payload=told))).result(SOON)
    sealed.set("a", payload={"args": [], "kwargs": {"$enc": f"{key_id(OLD)}:gAAAAABbroken"}})
    desk = Desk(journal.engine, wake_grace_s=1, group_commit_max=10)
    found = desk.asked(["a", "b", "none"])
    assert found.keys() == {"a", "b"}
    assert isinstance(found["a"], UnreadableValueError)
    assert found["b"] == (step("b").task, told)


@pytest.mark.parametrize("said", [{"$enc": "a text"}, {"$enc": "00000000:gAAAAAx"}, {"$enc": [1]}])
@pytest.mark.parametrize("keys", [None, BEFORE])
def test_an_answer_that_looks_encrypted_is_an_answer(
    journal_url: str, said: Any, keys: Seals | None
) -> None:
    world = World(journal_url, keys)
    journal = world.journal()
    claim = claimed(journal, "s", step("s"))
    outcome = Outcome(state=State.SUCCEEDED, value=said)
    entry = NewEntry("", "order/7", "paid", said, "payment-1")
    journal.finish(claim, outcome, entries=[entry]).result(SOON)
    ended: Any = opened_claim(keys, finished(journal, "s"))
    assert ended.outcome.value == said
    with world.engine.connect() as c:
        tree = reads.run_tree(c, "s", values=True)
        page = pages.run_page(c, PageOfRun(run_id="s"))
    assert tree is not None
    assert page is not None
    assert tree["steps"][0]["value"] == said
    assert "$enc" in page["value"]
    assert "unreadable" not in page["value"]
    [told] = journal.streams.read("", "order/7", after=-1, limit=10)
    assert told["data"] == said
    world.close()


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
    assert needed == {key_id(OLD): 11}
    for seals in (AFTER, None):
        told = f"11 values the key {key_id(OLD)}, which {KEYS} has not here"
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
    assert (done, left) == (11, {})
    assert store(sealed, AFTER).count() == {key_id(NEW): 11}
    store(sealed, AFTER).begin()
    with connect(sealed.url, seals=AFTER).connect() as c:
        tree = reads.run_tree(c, "s", values=True)
    assert tree is not None
    assert tree["steps"][0]["value"] == SECRET
    assert instructions(sealed, AFTER) == SECRET
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
    assert (done, left) == (10, {key_id(OLD): 1})
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
    assert (done, left) == (11, {})  # in the next pass
