"""Canvases of which Celery's own issues tell that bodies ran twice, or never: here each runs once.

Their forms, by the numbers of the issues; what they did there is of no matter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import chain, chord, group

from celery_agents.errors import AgentFailedError
from tests.integration.harness import FAST, SOON_S, Stack, eventually, lines
from tests.integration.test_flows import MODULES

pytestmark = pytest.mark.databases("sqlite")

#: Makes a step of a name, which takes nothing; one that begins with ``fails`` does.
Make = Callable[[str], Any]


def several(t: Make, names: str) -> list[Any]:
    return [t(name) for name in names]


def of_thirteen(t: Make) -> Any:
    inner = group(chain(*several(t, "bcd")), chain(*several(t, "efg")))
    header = group(chain(t("h"), inner, t("i")))
    return chain(t("a"), chord(header, t("j")), *several(t, "klm"))


def with_a_group_twice(t: Make) -> Any:
    """The same signatures stand in it at several places: each of them is a step of its own."""
    a, b, c = several(t, "abc")
    both = group([a, b])
    return chain(a, b, group(chain(both, c, both, b), b, c), c)


#: Canvases, with how often each step of them runs where that is not once.
RUN: dict[str, tuple[Callable[[Make], Any], str]] = {
    "1921": (
        lambda t: chord(
            group([chord(several(t, "abc"), t("d")), chord(several(t, "efg"), t("h"))]), t("i")
        ),
        "abcdefghi",
    ),
    "5138": (of_thirteen, "abcdefghijklm"),
    "2573": (
        lambda t: chain(
            t("a"), chord([t("b"), chain(t("c"), chord(several(t, "de"), t("f")))], t("g"))
        ),
        "abcdefg",
    ),
    "3323": (
        lambda t: chain(
            group([chain(group([chain(group([t("a")]), t("b"))]), t("c"))]),
            t("d"),
        ),
        "abcd",
    ),
    "3585": (
        lambda t: chain(t("a"), group(several(t, "bc")), t("d"), group(several(t, "ef")), t("g")),
        "abcdefg",
    ),
    "3885": (
        lambda t: chord([chord(several(t, "ab"), t("c")), chord([t("d")], t("e"))], t("f")),
        "abcdef",
    ),
    "4114": (
        lambda t: chain(
            *several(t, "ab"),
            group(chain(group(several(t, "cd")), t("e")), chain(group(several(t, "fg")), t("h"))),
            *several(t, "ij"),
        ),
        "abcdefghij",
    ),
    "4164": (
        lambda t: (
            t("a") | group(t("b") | group(several(t, "cd")), *several(t, "efgh")) | t("i") | t("j")
        ),
        "abcdefghij",
    ),
    "4401": (
        lambda t: (
            group([group(several(t, "ab")) | t("c"), group(several(t, "de")) | t("f")]) | t("g")
        ),
        "abcdefg",
    ),
    "4681": (lambda t: group([t("a") | group(several(t, "bc")) | t("d")]) | t("e"), "abcde"),
    "5947": (
        lambda t: chord(
            [chain(t("a"), group(several(t, "bc"))), chain(t("d"), group(several(t, "ef")))], t("g")
        ),
        "abcdefg",
    ),
    "5958": (
        lambda t: chain(
            group(several(t, "abc")), group(several(t, "def")), group([t("g")]), group([t("h")])
        ),
        "abcdefgh",
    ),
    "6030": (with_a_group_twice, "aaabbbbbccc"),
    "8180": (
        lambda t: chain(
            chain(group(several(t, "abc")), group(several(t, "de"))),
            chain(group(several(t, "fgh"))),
        ),
        "abcdefgh",
    ),
    "8662": (
        lambda t: chain(*(group(several(t, names)) for names in ("abc", "def", "ghi")), t("j")),
        "abcdefghij",
    ),
}
#: What many of them have in common: chains and groups in headers, of chords within chains.
RUN["nested"] = (
    lambda t: chain(
        t("a"),
        chord(
            [
                chain(t("b"), group(several(t, "cd")), t("e")),
                group(chain(t("f"), t("g")), chord(several(t, "hi"), chain(t("j"), t("k")))),
            ],
            chain(t("l"), group(several(t, "mn"))),
        ),
        t("o"),
    ),
    "abcdefghijklmno",
)
#: Those in which a step fails: what runs, without what comes behind it.
FAIL: dict[str, tuple[Callable[[Make], Any], list[str]]] = {
    "3317": (
        lambda t: chord(group([chain(t("fails"), t("b"))]), t("c").on_error(t("sorry"))),
        ["fails", "sorry"],
    ),
    "6029": (lambda t: chain(group(chain(t("a"), t("fails"), t("b"))), t("c")), ["a", "fails"]),
    "6220": (
        lambda t: chord([t("a"), chain(t("b"), t("fails"), t("c"))], t("d").on_error(t("sorry"))),
        ["a", "b", "fails", "sorry"],
    ),
    "8786": (
        lambda t: chain(group(several(t, "ab")), group(t("c"), t("fails")), t("d")),
        ["a", "b", "c", "fails"],
    ),
    "9107": (
        lambda t: chord([chord([t("a"), t("fails")], t("b")), t("c")], t("d").on_error(t("sorry"))),
        ["a", "c", "fails", "sorry"],
    ),
    "9674": (
        lambda t: chain(
            t("a"),
            group(
                chain(t("b"), t("c")),
                chain(t("fails"), group(several(t, "de")), t("f")),
            ),
            t("g"),
        ),
        ["a", "b", "c", "fails"],
    ),
}


@pytest.fixture
def stack(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Stack]:
    made = Stack(redis_url, database_url, tmp_path, FAST | MODULES)
    made.worker()
    yield made
    made.close()


def making(stack: Stack, path: Path) -> Make:
    def make(name: str) -> Any:
        told: Any = {"path": str(path), "value": name, "fails": name.startswith("fails")}
        return stack.client.ask.s("noted", told).set(immutable=True)

    return make


def test_each_body_runs_once(stack: Stack, tmp_path: Path) -> None:
    """All of them at once, at one worker."""
    runs = {}
    for number, (canvas, _) in [*RUN.items(), *FAIL.items()]:
        made = canvas(making(stack, tmp_path / number))
        runs[number] = stack.client.run(made, id=f"issue-{number}")
    found = {}
    for number in RUN:
        runs[number].get(timeout=3 * SOON_S)
        found[number] = Counter(lines(tmp_path / number))
    assert found == {number: Counter(names) for number, (_, names) in RUN.items()}
    for number in FAIL:
        with pytest.raises(AgentFailedError, match="it fails"):
            runs[number].get(timeout=3 * SOON_S)
    wanted = {number: Counter(names) for number, (_, names) in FAIL.items()}
    eventually(lambda: {n: Counter(lines(tmp_path / n)) for n in FAIL} == wanted)
