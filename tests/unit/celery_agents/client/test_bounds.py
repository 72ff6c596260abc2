"""What is bounded, or misspelt, is refused by every form of a verb, before anything is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from celery_agents import Candidate, Client, Vote, Voter
from celery_agents.contracts.vote import MOST_BALLOTS
from celery_agents.errors import InvalidPayloadError

#: Nobody listens there: what is not refused at the call is not sent.
NOWHERE = "redis://127.0.0.1:1"

FORMS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "call": lambda verb, who, options: verb(who, "q", **options),
    "many": lambda verb, who, options: verb.many(who, ["q"], **options),
    "s": lambda verb, who, options: verb.s(who, "q", **options),
    "aio": lambda verb, who, options: asyncio.run(verb.aio(who, "q", **options)),
    "aio_many": lambda verb, who, options: asyncio.run(verb.aio_many(who, ["q"], **options)),
}
MANY = [Voter(agent="a", samples=6), Voter(agent="b", samples=5)]
TOO_MANY = [Voter(agent=f"v{n}", samples=1000) for n in range(11)]

#: Of each verb: who is asked, options, and what is told.
WRONG: list[tuple[str, Any, dict[str, Any], str]] = [
    ("vote", MANY, {}, r"11 ballots .* the limit is 10 \(ballots_max\)"),
    ("vote", MANY[:1], {"deliberation": 1}, r"12 ballots .* is 10 \(ballots_max\)"),
    ("vote", TOO_MANY, {}, f"at most {MOST_BALLOTS:,}"),
    ("vote", ["a"], {"choices": [f"{n}" for n in range(101)], "rule": "schulze"}, "ranks at most"),
    ("vote", ["a"], {"rule": "majorityy"}, r"did you mean majority\?"),
    ("vote", ["a"], {"minconsensus": 1}, r"did you mean min_consensus\?"),
    ("vote", ["a"], {"answer": int}, r"answer: Extra"),
    ("gather", MANY, {}, r"11 ballots .* the limit is 10 \(ballots_max\)"),
    ("gather", TOO_MANY, {}, "at most"),
    ("gather", ["a"], {"how": "mena"}, r"did you mean mean\?"),
    ("ask", "a", {"retrry": {}}, r"retrry: .*did you mean retry\?"),
    ("ask", "a", {"awnser": int}, r"did you mean answer\?"),
    ("ask", "a", {"prioritiy": 1}, r"did you mean priority\?"),
    ("ask", "a", {"retry": {"max_attemps": 2}}, r"did you mean max_attempts\?"),
    ("ask", "a", {"timeout_s": "abc"}, r"timeout_s: "),
    ("fallback", ["a"], {"strategy": "sequentail"}, r"did you mean sequential\?"),
    ("fallback", [{"agent": "a", "wieght": 2}], {}, r"did you mean weight\?"),
    ("map", "a", {"on_failure": "stopp"}, r"did you mean stop\?"),
    ("map", "a", {"member_timeout": 3}, r"did you mean member_timeout_s\?"),
]


@pytest.fixture(scope="module")
def agents() -> Iterator[Client]:
    with Client(NOWHERE, ballots_max=10) as client:
        yield client


@pytest.mark.parametrize(("verb", "who", "options", "told"), WRONG)
def test_each_form_refuses(
    agents: Client, *, verb: str, who: Any, options: dict[str, Any], told: str
) -> None:
    called = getattr(agents, verb)
    forms = [name for name in FORMS if name == "call" or hasattr(called, name)]
    assert {"call", "aio", "s"} <= {*forms}
    for form in forms:
        with pytest.raises(InvalidPayloadError, match=told):
            FORMS[form](called, who, options)


def test_as_many_as_allowed_are_taken(agents: Client) -> None:
    ten = [Voter(agent="a", samples=10)]
    assert agents.vote.s(ten, "q")
    assert agents.gather.s(ten, "q")
    assert agents.fallback.s([Candidate(agent=f"c{n}") for n in range(11)], "q")


@pytest.mark.parametrize("names", [(), ("id", "priority", "answer")])
def test_a_row_is_read_as_it_was_kept(names: tuple[str, ...]) -> None:
    """Its input was looked through when it came in; its options are looked at all the same."""
    deep: Any = "q"
    for _ in range(500):
        deep = [deep]
    with pytest.raises(InvalidPayloadError, match="input"):
        Vote.from_message([deep], {"voters": ["a"]}, names=names)
    assert Vote.from_message([deep], {"voters": ["a"]}, known=True, names=names).input is deep
    with pytest.raises(InvalidPayloadError, match=r"did you mean majority\?"):
        Vote.from_message(["q"], {"voters": ["a"], "rule": "majorty"}, known=True, names=names)
