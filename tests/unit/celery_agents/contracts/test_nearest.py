from __future__ import annotations

from typing import Any

import pytest

from celery_agents.client.client import Client
from celery_agents.contracts.ask import Ask, Request
from celery_agents.contracts.nearest import fields_at
from celery_agents.contracts.patterns import Fallback, Vote
from celery_agents.errors import InvalidPayloadError

ONE = {"voters": ["a"]}
SECRET = "hunter2"


@pytest.mark.parametrize(
    ("model", "given", "told"),
    [
        (Ask, {"agent": "a", "retrry": {}}, "retrry: .*; did you mean retry?"),
        (Ask, {"agent": "a", "timeout": 5}, "timeout: .*; did you mean timeout_s?"),
        (Ask, {"agent": "a", "prioritty": 5}, "prioritty: .*; did you mean priority?"),
        (Ask, {"agent": "a", "retry": {"max_attempt": 2}}, "did you mean max_attempts?"),
        (Vote, {**ONE, "rule": "majorityy"}, "rule: .*; did you mean majority?"),
        (Vote, {**ONE, "rule": {"kind": "shulze"}}, "rule: .*; did you mean schulze?"),
        (Vote, {**ONE, "conflict": "descision"}, "conflict: .*; did you mean decision?"),
        (Vote, {**ONE, "normalise": {"case_fold": True}}, "did you mean casefold?"),
        (Vote, {"voters": ["a", {"agent": "b", "wieght": 2}]}, "did you mean weight?"),
        (
            Vote,
            {**ONE, "rule": {"kind": "supermajority", "treshold": 1}},
            "rule.supermajority.treshold: .*; did you mean threshold?",
        ),
        (Fallback, {"candidates": ["a"], "stategy": "hedged"}, "did you mean strategy?"),
        (Fallback, {"candidates": ["a"], "strategy": "hedge"}, "did you mean hedged?"),
        (
            Fallback,
            {"candidates": [{"agent": "a", "compensation": {"agent": "b", "retry": {"max": 1}}}]},
            None,
        ),
        (Ask, {"agent": "a", "colour": SECRET}, None),
        (Ask, {"agent": "a", "timeout_s": SECRET}, None),
        (Vote, {**ONE, "rule": SECRET}, None),
    ],
)
def test_what_is_wrong_names_the_nearest_right_one(
    model: type[Request], given: dict[str, Any], told: str | None
) -> None:
    with pytest.raises(InvalidPayloadError, match=told and told.replace("?", r"\?")) as error:
        model.from_message([1], given, names=("id", "priority"))
    assert ("did you mean" in str(error.value)) is (told is not None)


@pytest.mark.parametrize(
    ("model", "path", "some"),
    [
        (Ask, [], {"agent", "retry"}),
        (Ask, ["retry"], {"max_attempts"}),
        (Vote, ["voters", 3], {"agent", "samples"}),
        (Vote, ["rule", "supermajority"], {"kind", "threshold"}),
        (Fallback, ["candidates", 0, "compensation", "retry"], {"max_attempts"}),
        (None, ["x"], set()),
    ],
)
def test_the_fields_at_a_place(model: Any, path: list[int | str], some: set[str]) -> None:
    found = fields_at(model, path)
    assert found >= some
    assert bool(found) is bool(some)


def test_other_kinds_do_not_lend_their_fields() -> None:
    assert "threshold" not in fields_at(Vote, ["rule", "majority"])


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda c: c.ask("a", 1, anwser=int), "anwser: .*answer"),
        (lambda c: c.map("a", [1], id_="x"), "id_: .*id"),
        (lambda c: c.vote(["a"], 1, voter_timeout=1), "voter_timeout_s"),
        (lambda c: c.gather.s(["a"], 1, atleast=1), "at_least"),
    ],
)
def test_the_clients_own_options_are_among_them(call: Any, told: str) -> None:
    with pytest.raises(InvalidPayloadError, match=told):
        call(Client("redis://127.0.0.1:1/0"))
