from __future__ import annotations

from typing import Any

import pytest

from app.journal import Journal
from app.journal.queries import sessions
from app.journal.schema.rows import HeldSession, NewExchange
from celery_agents.errors import InvalidPayloadError
from tests.unit.app.journal.support import (
    DONE,
    SOON,
    World,
    claimed,
    lose_an_answer,
    step,
)


def talk(journal: Journal, name: str, *run_ids: str, tenant: str = "", tokens: int = 10) -> None:
    """Let runs have talked in a session, each with its id as its answer."""
    for run_id in run_ids:
        claim = claimed(journal, run_id, step(run_id, tenant=tenant))
        journal.sessions.hold(claim, name, 100).result(SOON)
        said = NewExchange(
            {"agent": "a", "messages": [{"role": "user", "content": run_id}]}, tokens
        )
        journal.finish(claim, DONE, said).result(SOON)


def read(journal: Journal, name: str, *, tenant: str = "") -> list[str]:
    return [
        e["messages"][0]["content"] for e in journal.sessions.page(tenant, name, -1)["exchanges"]
    ]


def test_what_a_run_is_told(journal: Journal) -> None:
    talk(journal, "chat", "a", "b", "c")
    told = journal.sessions.told(HeldSession("", "chat", begins=1, exchanges=3))
    assert [(e["place"], e["run_id"], e["agent"]) for e in told] == [(1, "b", "a"), (2, "c", "a")]
    assert told[0].keys() == {"place", "run_id", "agent", "at", "tokens", "messages"}
    last = journal.sessions.told(HeldSession("", "chat", begins=3, exchanges=3))
    assert [e["run_id"] for e in last] == ["c"]  # too long to be told, it says who is active
    assert journal.sessions.told(HeldSession("", "new", begins=0, exchanges=0)) == []


@pytest.mark.parametrize("limits", [{"PAGE_ROWS": 2}, {"PAGE_CHARACTERS": 130}])
def test_pages(journal: Journal, monkeypatch: pytest.MonkeyPatch, limits: dict[str, int]) -> None:
    for name, limit in limits.items():
        monkeypatch.setattr(sessions, name, limit)
    talk(journal, "chat", *"abcde")
    places: list[list[int]] = []
    after: int | None = -1
    while after is not None:
        page: dict[str, Any] = journal.sessions.page("", "chat", after)
        places.append([e["place"] for e in page["exchanges"]])
        after = page["more"]
    assert places == [[0, 1], [2, 3], [4]]


def test_a_page_has_one_exchange_at_least(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "PAGE_CHARACTERS", 5)
    talk(journal, "chat", "a", "b")
    page = journal.sessions.page("", "chat", -1)
    assert (len(page["exchanges"]), page["more"]) == (1, 0)


@pytest.mark.parametrize("after", [0, 7])
def test_there_is_nothing_behind_the_end(journal: Journal, after: int) -> None:
    talk(journal, "chat", "a")
    assert journal.sessions.page("", "chat", after) == {"exchanges": [], "more": None}


def test_a_list_begins_with_the_last_one_changed(journal: Journal) -> None:
    talk(journal, "one", "a")
    talk(journal, "two", "b", "c")
    talk(journal, "one", "d")
    talk(journal, "three", "e", tenant="other")
    assert [(s["name"], s["exchanges"]) for s in journal.sessions.list("", 10)] == [
        ("one", 2),
        ("two", 2),
    ]
    assert [s["name"] for s in journal.sessions.list("", 1)] == ["one"]
    assert [(s["name"], s["tenant"]) for s in journal.sessions.list("other", 9)] == [
        ("three", "other")
    ]


@pytest.mark.parametrize(("upto", "copied"), [(None, "abc"), (2, "ab"), (0, ""), (9, "abc")])
def test_a_fork_goes_its_own_way(journal: Journal, upto: int | None, copied: str) -> None:
    talk(journal, "chat", *"abc")
    assert journal.sessions.fork("", "chat", "copy", upto) == len(copied)
    talk(journal, "copy", "x")
    talk(journal, "chat", "y")
    assert read(journal, "copy") == [*copied, "x"]
    assert read(journal, "chat") == [*"abc", "y"]


def test_a_fork_of_a_session_that_is_held(journal: Journal) -> None:
    talk(journal, "chat", "a")
    claim = claimed(journal, "r", step("r"))
    journal.sessions.hold(claim, "chat", 100).result(SOON)
    assert journal.sessions.fork("", "chat", "copy", None) == 1
    found = {s["name"]: s["holder"] for s in journal.sessions.list("", 10)}
    assert found == {"chat": "r", "copy": None}


def test_a_fork_takes_no_name_that_is_taken(journal: Journal) -> None:
    talk(journal, "chat", "a")
    talk(journal, "copy", "b")
    with pytest.raises(InvalidPayloadError, match="a session 'copy' already"):
        journal.sessions.fork("", "chat", "copy", None)
    with pytest.raises(InvalidPayloadError, match="already"):
        journal.sessions.fork("", "chat", "chat", None)
    assert read(journal, "copy") == ["b"]


def test_a_fork_whose_answer_was_lost(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    talk(journal, "chat", "a")
    lose_an_answer(monkeypatch, int)
    assert journal.sessions.fork("", "chat", "copy", None) == 1
    assert read(journal, "copy") == ["a"]


def test_what_is_deleted_is_gone(journal: Journal) -> None:
    talk(journal, "chat", "a", "b")
    talk(journal, "other", "c")
    assert journal.sessions.delete("", "chat") is True
    assert journal.sessions.delete("", "chat") is False
    with pytest.raises(InvalidPayloadError, match="no session 'chat'"):
        read(journal, "chat")
    assert read(journal, "other") == ["c"]
    talk(journal, "chat", "d")
    assert read(journal, "chat") == ["d"]


def test_a_held_session_is_not_deleted(world: World, journal: Journal) -> None:
    talk(journal, "chat", "a")
    claim = claimed(journal, "r", step("r"))
    journal.sessions.hold(claim, "chat", 100).result(SOON)
    with pytest.raises(InvalidPayloadError, match="The run r holds the session"):
        journal.sessions.delete("", "chat")
    assert read(journal, "chat") == ["a"]
    journal.cancel("r")
    journal.postpone(claim, delay_s=0).result(SOON)
    assert journal.sessions.delete("", "chat") is True


@pytest.mark.parametrize("what", ["page", "fork", "delete"])
def test_nobody_sees_anothers(journal: Journal, what: str) -> None:
    talk(journal, "chat", "a", tenant="one")
    if what == "delete":
        assert journal.sessions.delete("other", "chat") is False
    else:
        about: Any = {"page": ("chat", -1), "fork": ("chat", "copy", None)}[what]
        with pytest.raises(InvalidPayloadError, match="no session 'chat'"):
            getattr(journal.sessions, what)("other", *about)
    assert read(journal, "chat", tenant="one") == ["a"]
