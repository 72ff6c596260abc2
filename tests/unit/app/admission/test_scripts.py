"""Questions for Redis that go together: which of them are one command, and in which order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.admission.scripts import OwnWords, Query, together

NOTED = ("x", "y")


def query(script: str, own: OwnWords | None = None) -> Query:
    return Query((script,), list, list, NOTED, own)


def asks(who: str, script: str = "ask", words: tuple[str, ...] = ("w",)) -> Query:
    return query(script, OwnWords(who, words))


def tells(who: str) -> Query:
    return query("tell", OwnWords(who, ("w",), first=True))


def test_those_that_ask_the_same_are_one_command() -> None:
    assert together([asks("a"), asks("b", "other"), asks("c")]) == [[0, 2], [1]]
    assert together([]) == []


def test_a_script_that_serves_one_alone_stands_between_no_others() -> None:
    alone = query("breaker", OwnWords("a"))
    assert together([asks("a"), alone, alone, asks("b")]) == [[0, 3], [1], [2]]


def test_what_is_told_goes_ahead_of_what_others_ask() -> None:
    assert together([asks("a"), tells("b"), asks("c"), tells("d")]) == [[1, 3], [0, 2]]


def test_what_one_tells_stays_behind_what_it_asked() -> None:
    assert together([asks("a"), tells("a"), asks("b")]) == [[0], [1], [2]]
    assert together([tells("a"), asks("a"), asks("b")]) == [[0], [1, 2]]


def test_what_names_nobody_has_its_place_between_all_others() -> None:
    assert together([asks("a"), query("renew"), tells("b"), asks("c")]) == [[0], [1], [2], [3]]


someone = st.sampled_from("abc")
asked = st.one_of(
    st.builds(asks, someone, st.sampled_from(["ask", "other"]), st.sampled_from([(), ("w",)])),
    st.builds(tells, someone),
    st.just(query("renew")),
)


@given(st.lists(asked, max_size=30))
def test_each_is_asked_once_and_none_before_what_it_has_to_follow(questions: list[Query]) -> None:
    groups = together(questions)
    places = {n: place for place, group in enumerate(groups) for n in group}
    assert sorted(places) == [*range(len(questions))]
    for later, second in enumerate(questions):
        for earlier, first in enumerate(questions[:later]):
            told = second.own is not None and second.own.first
            of_one = first.own is not None and second.own and first.own.who == second.own.who
            meets = first.own is not None and first.own.first and not told
            if first.own is None or second.own is None or (of_one and told) or meets:
                ordered = places[earlier] <= places[later]
                assert ordered, f"{earlier} before {later}"
