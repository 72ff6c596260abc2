"""The patterns taken apart: what each may cost at one place of a text has a bound.

A pattern is tried at every place. It is linear if a try that fails has read no more than some
fixed number of characters, and one that matches reads on from its end.
"""

from __future__ import annotations

import re
from re import _constants as codes  # type: ignore[attr-defined]  # no stubs tell of it
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

import pytest

from celery_agents.redaction import addresses, judging, looks, named

#: Steps at one place, in a try that fails.
MOST = 5_000
_REPEATS = {codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT}
PATTERNS = {
    f"{module.__name__.rsplit('.', 1)[1]}.{name}": found
    for module in (addresses, looks, named)
    for name, found in vars(module).items()
    if isinstance(found, re.Pattern) and not name.startswith("_")
} | {quote: named._closing(quote) for quote in ('"', "'", '\\"', "&quot;")}


ALL = {
    f"{module.__name__.rsplit('.', 1)[1]}.{name}": found
    for module in (addresses, judging, looks, named)
    for name, found in vars(module).items()
    if isinstance(found, re.Pattern)
} | PATTERNS


class NotLinearError(AssertionError):
    """A pattern may read what it has read again and again."""


def cost(items: Any, *, guarded: bool = False) -> int:
    """The most characters that a failing try reads.

    What repeats without an end must give nothing back, and nothing that may fail comes after it,
    unless a look behind lets it begin at the first of its characters alone.
    """
    total, endless = 0, False
    for code, value in map(read, items):
        if endless and not guarded and least(code, value):
            raise NotLinearError("something may fail after a repetition without an end")
        if code is codes.ASSERT_NOT and value[0] < 0 and not total:
            guarded = True
        if code in _REPEATS - {codes.POSSESSIVE_REPEAT} and value[1] is codes.MAXREPEAT:
            raise NotLinearError("a repetition without an end gives back what it has read")
        endless = endless or runs_on(code, value)
        total += steps(code, value)
    return total


def read(item: Any) -> Any:
    """A repetition in an atomic group of its own, ``(?>(…)*)``, is a possessive one."""
    code, value = item
    if code is codes.ATOMIC_GROUP and len(value) == 1 and value[0][0] is codes.MAX_REPEAT:
        return codes.POSSESSIVE_REPEAT, value[0][1]
    return item


def runs_on(code: Any, value: Any) -> bool:
    """A repetition without an end is somewhere in it."""
    if code in _REPEATS:
        return value[1] is codes.MAXREPEAT or any(runs_on(*item) for item in value[2])
    if code is codes.BRANCH:
        return any(runs_on(*item) for branch in value[1] for item in branch)
    inner = value[3] if code is codes.SUBPATTERN else value if code is codes.ATOMIC_GROUP else ()
    return any(runs_on(*item) for item in inner)


def least(code: Any, value: Any) -> int:
    """Characters that it needs at the least: more than none, and it may fail."""
    if code in _REPEATS:
        return int(value[0])
    return int(code not in {codes.ASSERT, codes.ASSERT_NOT, codes.AT})


def steps(code: Any, value: Any) -> int:
    if code in _REPEATS:
        times = 1 if value[1] is codes.MAXREPEAT else value[1]
        inner = cost(value[2])
        if code is codes.MAX_REPEAT and times > 1 and holds_a_choice(value[2]):
            raise NotLinearError("a repetition of choices is tried in all ways")
        return times * max(1, inner)
    if code is codes.BRANCH:
        return sum(cost(branch) for branch in value[1])
    if code is codes.SUBPATTERN:
        return cost(value[3])
    if code is codes.ATOMIC_GROUP:
        return cost(value)
    if code in {codes.ASSERT, codes.ASSERT_NOT}:
        return cost(value[1])
    return 1


def holds_a_choice(items: Any) -> bool:
    return any(
        (code in _REPEATS and code is not codes.POSSESSIVE_REPEAT) or code is codes.BRANCH
        for code, _ in map(read, items)
    )


def possessive_groups(items: Any) -> int:
    """Possessive repetitions of more than one character: Python before 3.11.5 gets them wrong."""
    if isinstance(items, parser.SubPattern | list):
        return sum(map(possessive_groups, items))
    if not isinstance(items, tuple):
        return 0
    wrong = items[:1] == (codes.POSSESSIVE_REPEAT,) and items[1][2].getwidth() != (1, 1)
    return wrong + sum(map(possessive_groups, items))


@pytest.mark.parametrize("name", PATTERNS)
def test_a_try_that_fails_has_read_little(name: str) -> None:
    pattern = PATTERNS[name]
    assert cost(parser.parse(pattern.pattern, pattern.flags)) <= MOST


@pytest.mark.parametrize(
    "pattern",
    [
        *(r"\b[a-z][a-z0-9]*://", r"(?:a|a)*b", r"(?:a{1,9}){1,9}b", r"a++b", r"(?:a+)+", "a*?b"),
        *(r"(?>a+)b", r"(?>(?:a|b)+)b", r"(?>a+b)"),
    ],
)
def test_what_is_not_linear_is_found(pattern: str) -> None:
    with pytest.raises(NotLinearError):
        cost(parser.parse(pattern))


@pytest.mark.parametrize("name", ALL)
def test_none_meets_the_fault_of_older_pythons(name: str) -> None:
    assert possessive_groups(parser.parse(ALL[name].pattern, ALL[name].flags)) == 0


@pytest.mark.parametrize(
    "pattern", [r"(?:a|bc)*+", r"x(?:a?b)++", r"(?:y|(?>(?:ab?)?+))", r"(?=(?:a{1,3}b){2,}+)"]
)
def test_what_older_pythons_get_wrong_is_found(pattern: str) -> None:
    assert possessive_groups(parser.parse(pattern)) == 1


def test_all_that_search_are_among_them() -> None:
    assert {"addresses.BEFORE_HOST", "looks.SAID", "looks.KEY", "named.NAME"} <= PATTERNS.keys()
