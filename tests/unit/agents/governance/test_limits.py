"""Limits as pure functions: rates over any window, slots, pauses, all or nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.governance import limits
from agents.governance.limits import Book, Concurrency, Pause, Rate, Start, ToldRate, Want

LEASE_MS = 7000
NOW = 1_700_000_000_000.0


def rate(per_minute: int, burst_s: float = 1.0, cost: int = 1, key: str = "r") -> Rate:
    unit_ms = 60_000 / per_minute
    return Rate(key, limits.burst_ms(unit_ms, burst_s), unit_ms, cost)


def times(book: Book, wants: list[Want], now: float, count: int) -> tuple[Book, int]:
    """Ask so often at one moment; how many were admitted."""
    admitted = 0
    for n in range(count):
        book, refused = limits.ask(book, wants, f"{now}/{n}", now, LEASE_MS)
        admitted += refused is None
    return book, admitted


rates = st.builds(rate, st.integers(1, 100_000), st.floats(0.01, 60), st.integers(1, 5))
pauses = st.lists(st.floats(0, 5_000), min_size=1, max_size=60)


@given(rates, pauses)
def test_no_window_admits_more_than_its_burst_and_its_rate(one: Rate, gaps: list[float]) -> None:
    book, now, admitted = Book(), NOW, []
    for gap in gaps:
        now += gap
        book, refused = limits.ask(book, [one], "w", now, LEASE_MS)
        if refused is None:
            admitted.append(now)
    burst = one.burst_ms / one.unit_ms
    for first, begin in enumerate(admitted):
        for last, end in enumerate(admitted[first:], first):
            units = one.cost * (last - first + 1)
            assert units <= max(burst, one.cost) + (end - begin) / one.unit_ms + 1


@given(st.integers(60, 60_000), st.floats(0.1, 6))
def test_a_backlog_gets_all_of_the_rate(per_minute: int, burst_s: float) -> None:
    one = rate(per_minute, burst_s)
    book, now, admitted = Book(), NOW, 0
    until = now + 60_000
    for _ in range(300):  # a while of the minute, however fast the rate
        book, refused = limits.ask(book, [one], "w", now, LEASE_MS)
        if refused is None:
            admitted += 1
            continue
        assert refused.wait_ms is not None
        now += refused.wait_ms
        if now >= until:
            break
    assert admitted >= 0.98 * min(now - NOW, 60_000) / one.unit_ms - 1


def test_more_than_the_burst_passes_alone() -> None:
    large, small = rate(600, cost=1000), rate(600)
    book, refused = limits.ask(Book(), [large], "a", NOW, LEASE_MS)
    assert refused is None
    book, refused = limits.ask(book, [small], "b", NOW, LEASE_MS)
    assert refused is not None
    assert refused.wait_ms == pytest.approx(1000 * 100 + 100 - 1000)
    book, _ = limits.ask(Book(), [small], "a", NOW, LEASE_MS)
    _, refused = limits.ask(book, [large], "b", NOW, LEASE_MS)
    assert refused is not None
    assert refused.wait_ms == pytest.approx(100)


wants = st.one_of(
    st.builds(lambda n, c: rate(600, 1.0, c, f"r{n}"), st.integers(0, 2), st.integers(1, 8)),
    st.builds(lambda n, most: Concurrency(f"s{n}", most), st.integers(0, 2), st.integers(1, 3)),
    st.builds(lambda n: Pause(f"p{n}"), st.integers(0, 2)),
)


@given(st.lists(st.tuples(st.lists(wants, min_size=1, max_size=4), st.floats(0, 500)), max_size=30))
def test_a_refusal_by_one_leaves_the_others_as_they_were(asks: list[Any]) -> None:
    book, now = limits.pause(Book(), "p1", NOW + 900), NOW
    for n, (wanted, gap) in enumerate(asks):
        now += gap
        after, refused = limits.ask(book, wanted, f"w{n}", now, LEASE_MS)
        if refused is not None:
            assert after is book
        book = after


def test_slots_are_free_again_when_their_lease_ends_or_they_are_told() -> None:
    one: list[Want] = [Concurrency("s", 2)]
    book, admitted = times(Book(), one, NOW, 3)
    assert admitted == 2
    assert times(book, one, NOW + LEASE_MS - 1, 1)[1] == 0
    assert times(book, one, NOW + LEASE_MS, 3)[1] == 2
    book = limits.settle(book, one, f"{NOW}/0", NOW, {})
    assert times(book, one, NOW + 1, 2)[1] == 1


def test_who_asks_again_keeps_its_slot() -> None:
    one: list[Want] = [Concurrency("s", 1)]
    book, _ = limits.ask(Book(), one, "a", NOW, LEASE_MS)
    assert limits.ask(book, one, "a", NOW, LEASE_MS)[1] is None
    refused = limits.ask(book, one, "b", NOW, LEASE_MS)[1]
    assert refused is not None
    assert refused.wait_ms is None


def test_what_was_not_used_is_given_back_and_what_was_is_owed() -> None:
    one = rate(60_000, 1.0, cost=800)
    book, _ = limits.ask(Book(), [one], "a", NOW, LEASE_MS)
    assert limits.ask(book, [one], "b", NOW, LEASE_MS)[1] is not None
    less = limits.settle(book, [one], "a", NOW, {"r": 100})
    assert limits.ask(less, [one], "b", NOW, LEASE_MS)[1] is None
    more = limits.settle(book, [one], "a", NOW, {"r": 5000})
    refused = limits.ask(more, [rate(60_000)], "b", NOW, LEASE_MS)[1]
    assert refused is not None
    assert refused.wait_ms == pytest.approx(4001)
    late = limits.settle(book, [one], "a", NOW + 60_000, {"r": 0})
    assert times(late, [rate(60_000)], NOW + 60_000, 1100)[1] == 1000  # the bucket is not overfull


def test_a_pause_closes_and_a_longer_one_stays() -> None:
    book = limits.pause(limits.pause(Book(), "p", NOW + 5000), "p", NOW + 1000)
    refused = limits.ask(book, [Pause("p")], "a", NOW, LEASE_MS)[1]
    assert refused is not None
    assert refused.wait_ms == 5000
    assert limits.ask(book, [Pause("p")], "a", NOW + 5000, LEASE_MS)[1] is None
    assert limits.ask(limits.resume(book, "p"), [Pause("p")], "a", NOW, LEASE_MS)[1] is None


def test_a_provider_that_has_told_nothing_is_asked_a_few_at_a_time() -> None:
    unknown: list[Want] = [Start("s", "acc"), ToldRate("l", "acc", "requests", 1.0, 1)]
    _, admitted = times(Book(), unknown, NOW, 100)
    assert admitted == limits.UNKNOWN_AT_ONCE
    told = Book(learned={"acc": {"requests": 600.0}})
    assert times(told, unknown, NOW, 100)[1] == 10
    other = Book(learned={"acc": {"tokens": 600.0}})
    assert times(other, unknown, NOW, 100)[1] == 100


def test_what_is_left_only_lowers() -> None:
    one = rate(600)
    lowered = limits.lower(Book(), one, 3, NOW)
    assert times(lowered, [one], NOW, 10)[1] == 3
    assert limits.lower(lowered, one, 8, NOW) == lowered
    assert times(limits.lower(Book(), one, 3, NOW, 200), [one], NOW, 10)[1] == 5
    assert times(limits.lower(Book(), one, 500, NOW), [one], NOW, 20)[1] == 10


def test_a_provider_that_tells_nothing_is_asked_more_until_it_refuses() -> None:
    book, unknown = Book(), Start("s", "acc")
    for _ in range(24):
        book = limits.answered(book, "acc")
    assert limits.at_once(unknown, book) == 32
    book = limits.pause(limits.refused(book, "acc", NOW), "acc", NOW + 1000)
    assert limits.refused(book, "acc", NOW + 999) is book  # of the same moment
    assert limits.at_once(unknown, book) == 16
    for _ in range(17):
        book = limits.answered(book, "acc")
    assert limits.at_once(unknown, book) == 17
    for n in range(10):
        book = limits.refused(book, "acc", NOW + 2000 + n)
    assert limits.at_once(unknown, book) == 1


@given(rates, st.lists(st.tuples(st.floats(0, 5_000), st.floats(0, 20_000)), max_size=40))
def test_those_that_were_held_up_do_not_go_out_all_at_once(one: Rate, gaps: list[Any]) -> None:
    """Whatever time passes between being admitted and asking, what goes out keeps the rate."""
    now, asked = NOW, []
    book = Book()
    for gap, held_up in gaps:
        now += gap
        book, refused = limits.ask(book, [one], "w", now, LEASE_MS)
        if refused is None:
            asked.append(now + held_up)
    out = []
    for at in sorted(asked):
        book, early = limits.send(book, [one], at)
        out.append(at + max(early, 0.0))
    burst = max(one.burst_ms / one.unit_ms, one.cost)
    for first, begin in enumerate(out):
        for last, end in enumerate(out[first:], first):
            assert one.cost * (last - first + 1) <= burst + (end - begin) / one.unit_ms + 1
