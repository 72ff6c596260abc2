"""Refusals on their way to the audit: the first at once, equal ones together, never too many."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from api.denials import AGAIN_S, CROWDS_MAX, KINDS_MAX, NOBODY, OTHERS, Denials
from app.access.permissions import Principal, Role
from app.journal.tables.audit import Act
from celery_agents.errors import JournalUnavailableError

USER = Principal(id="k3xample", role=Role.USER, tenant="acme")


class Book:
    """An audit, a clock, and the refusals of a process."""

    def __init__(self) -> None:
        self.acts: list[Act] = []
        self.now_s, self.away = 100.0, False
        self.denials = Denials(self._write, lambda: self.now_s)

    async def _write(self, acts: Sequence[Act]) -> None:
        if self.away:
            raise JournalUnavailableError("away")
        self.acts += acts

    def deny(
        self, times: int = 1, *, route: str = "/keys", status: int = 403, **state: Any
    ) -> None:
        for _ in range(times):
            self.denials.add({"method": "POST", "state": state}, route, status)

    def flush(self, **about: bool) -> list[tuple[str, str, int]]:
        """What was written down since the last time: actor, target, how many."""
        before = len(self.acts)
        asyncio.run(self.denials.flush(**about))
        return [(a.actor, a.target, a.data["times"]) for a in self.acts[before:]]


def test_the_first_is_written_at_once_and_equal_ones_once_a_minute() -> None:
    book = Book()
    book.deny(3, who=USER)
    assert book.flush() == [("k3xample", "POST /keys", 3)]
    book.deny(500, who=USER)
    book.deny(route="/agents", who=USER)
    assert book.flush() == [("k3xample", "POST /agents", 1)]
    book.now_s += AGAIN_S
    assert book.flush() == [("k3xample", "POST /keys", 500)]
    book.now_s += AGAIN_S
    assert book.flush() == []
    (act,) = book.acts[:1]
    assert (act.action, act.tenant, act.data["status"]) == ("denied", "acme", 403)


def test_who_has_no_key_is_nobody_and_one_that_does_not_hold_is_not_proven() -> None:
    book = Book()
    book.deny(status=401)
    book.deny(status=401, claims="abcdefgh, not proven")
    book.deny(who=Principal(id="all", role=Role.READONLY, tenant=None))
    assert [actor for actor, _, _ in book.flush()] == [NOBODY, "abcdefgh, not proven", "all"]
    assert [act.tenant for act in book.acts] == ["", "", "*"]


def test_whoever_makes_ids_up_fills_nothing() -> None:
    book = Book()
    for number in range(3 * KINDS_MAX):
        book.deny(status=401, claims=f"{number:08}, not proven")
    told = book.flush()
    assert len(told) == KINDS_MAX + 1
    assert told[-1] == (OTHERS, "", 2 * KINDS_MAX)
    assert book.flush(all_of_them=True) == []
    book.now_s += 2 * AGAIN_S  # then there is place again
    book.flush()
    book.deny(who=USER)
    assert book.flush() == [("k3xample", "POST /keys", 1)]


def test_a_crowd_crowds_no_other_out() -> None:
    book = Book()
    for number in range(2 * KINDS_MAX):
        book.deny(status=401, claims=f"{number:08}, not proven")
        book.deny(who=Principal(id=f"k{number:07}", role=Role.USER, tenant="mallory"))
    book.flush()
    book.deny(who=USER)
    assert book.flush() == [("k3xample", "POST /keys", 1)]
    for number in range(2 * CROWDS_MAX):
        book.deny(who=Principal(id="k7654321", role=Role.USER, tenant=f"t{number}"))
    told = book.flush()
    assert len(told) == CROWDS_MAX - 3 + 1
    assert told[-1] == (OTHERS, "", CROWDS_MAX + 3)
    assert sum(act.data["times"] for act in book.acts) == 4 * KINDS_MAX + 1 + 2 * CROWDS_MAX


def test_what_cannot_be_written_down_is_kept() -> None:
    book = Book()
    book.deny(2, who=USER)
    book.away = True
    with pytest.raises(JournalUnavailableError):
        book.flush()
    book.away = False
    book.deny(who=USER)
    assert book.flush() == [("k3xample", "POST /keys", 3)]
    book.deny(who=USER)
    assert book.flush(all_of_them=True) == [("k3xample", "POST /keys", 1)]
