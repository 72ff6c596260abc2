"""What a contract's JSON schema says is what its validation does."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from celery_agents import Ask, Fallback, Gather, Map, Vote
from celery_agents.contracts.base import Contract
from celery_agents.contracts.vote import VotePolicy
from tests.support.drawn import in_turn
from tests.support.json_schema import fits

_COMPENSATION = {"agent": "u", "retry": {"max_attempts": 3}, "timeout_s": 2}
_RETRY = {"max_attempts": 2, "base_delay_s": 1.5, "max_delay_s": 2, "max_retry_after_s": 3}
#: A payload of each contract with all that it may have.
WHOLE: dict[type[Contract], dict[str, Any]] = {
    Ask: {
        "input": {"a": [1, None]},
        "agent": "a",
        "instructions": "x",
        "choices": ["a", "b"],
        "answer_schema": {"type": "string"},
        "when_open": "fail",
        "retry": _RETRY,
        "timeout_s": 5,
        "deadline_s": 9.5,
        "compensation": _COMPENSATION,
    },
    Fallback: {
        "input": 1,
        "candidates": [
            "a",
            {
                "agent": "b",
                "priority": 1,
                "weight": "1/2",
                "timeout_s": 3,
                "on": ["timeout"],
                "name": "n",
                "compensation": "u",
            },
        ],
        "strategy": "hedged",
        "default": {"value": None},
        "timeout_s": 3,
        "hedge": {
            "quantile": 0.9,
            "share": 0.2,
            "delay_s": 1,
            "min_samples": 5,
            "half_life": 20,
        },
        "adaptive": {
            "half_life": 3,
            "success": 1,
            "latency": 0,
            "cost": 0.5,
            "latency_scale_s": 1,
            "cost_scale_usd": 0.5,
        },
        "seed": "s",
        "work": "w",
        "instructions": None,
        "answer_schema": {},
    },
    Vote: {
        "input": "q",
        "voters": [
            "a",
            {"agent": "b", "weight": 2, "name": "n", "samples": 2, "compensation": False},
        ],
        "choices": ["x", "y"],
        "rule": {"kind": "supermajority", "threshold": "2/3"},
        "weights": {"kind": "reliability", "records": {"a": [1, 2]}},
        "quorum": {"count": 1, "share": "1/2"},
        "tie": {"kind": "seeded", "seed": "s"},
        "stop": {"kind": "lead", "k": 2},
        "waves": {"sizes": [1, 2], "max": 3},
        "min_consensus": 0.5,
        "escalate": {"kind": "supervisor", "agent": "s", "backups": ["t"]},
        "deliberation": 1,
        "timeout_s": 2,
        "conflict": "data",
        "normalise": {"casefold": False, "strip": True, "numbers": True},
        "voter_timeout_s": 3,
        "instructions": "i",
    },
    Gather: {
        "input": 1,
        "agents": ["a", {"agent": "b", "weight": "50%"}],
        "how": "best",
        "judge": "j",
        "separator": ",",
        "at_least": 1,
        "instructions": "i",
        "answer_schema": {"a": 1},
    },
    Map: {
        "input": [1, "x", {}],
        "agent": "a",
        "on_failure": "stop",
        "wave": 2,
        "instructions": "i",
        "choices": ["a"],
        "answer_schema": {"a": 1},
        "member_timeout_s": 2,
        "compensation": None,
        "retry": {},
    },
}
#: What is put in place of each part of them.
ODD: list[Any] = [
    *(None, True, False, 0, 1, 2, -1, 3.0, 0.5, 1e9),
    *("", "a", "3", "true", "x" * 300, "x" * 190, "a\0", "2/3", "66%", "1/0", "half"),
    *("none", "person", "majority", "approval", "adaptive_consistency", "confidence"),
    *([], ["a"], [1], [["a"]], {}, {"a": 1}, {"agent": "z"}, {"kind": "none"}, {"value": 1}),
    *({"kind": "person"}, {"seed": "s"}, {"sizes": [1]}, {"__type__": 1, "__value__": 2}),
]
#: What JSON Schema cannot say: bounds of numbers that are written as texts, and what one part says
#: of another. There validation refuses what the schema lets pass, and nowhere the other way round.
BEYOND = {
    ("Ask", "answer_schema.type"),  # a schema that is malformed
    ("Fallback", "candidates.0"),  # one candidate has no condition
    ("Vote", "rule"),  # stop rules count single options
    ("Vote", "rule.threshold"),
    ("Vote", "weights.records.a.0"),  # right ones are among the judged ones
    ("Vote", "weights.records.a.1"),
    ("Vote", "quorum"),
    ("Vote", "quorum.share"),
    ("Vote", "min_consensus"),
    ("Gather", "how"),  # best, and only that, has a judge
    ("Gather", "judge"),
    ("Gather", "at_least"),  # so many agents there are
    ("Map", ""),  # only one that resumes a run has no agent
    ("Map", "agent"),
}
_GONE = object()


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list):
        for place in range(len(value)):
            yield from places(value[place], (*path, place))


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    whole = copy.deepcopy(value)
    part = whole
    for step in path[:-1]:
        part = part[step]
    if new is _GONE:
        del part[path[-1]]
    else:
        part[path[-1]] = new
    return whole


def valid(contract: type[Contract], payload: Any) -> bool:
    try:
        contract.model_validate(payload)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("contract", WHOLE, ids=lambda c: c.__name__)
def test_they_agree(contract: type[Contract]) -> None:
    """On some thousand payloads: each part of a whole one in another form, or gone."""
    whole, schema = WHOLE[contract], contract.model_json_schema()
    assert valid(contract, whole)
    assert fits(whole, schema)
    for number, path in enumerate(places(whole)):
        for new in [*in_turn(ODD, number, part=3), *([_GONE] if path else [])]:
            payload = changed(whole, path, new)
            says, does = fits(payload, schema), valid(contract, payload)
            place = ".".join(map(str, path))
            if (contract.__name__, place) in BEYOND and says and not does:
                continue
            assert says is does, (place, new)


@pytest.mark.parametrize(
    ("part", "forms"),
    [
        ("rule", ["plurality", "weighted", "majority", "supermajority", "unanimous", "approval"]),
        ("rule", ["instant_runoff", "borda", "schulze", {"kind": "borda"}]),
        ("weights", ["voter", "reliability", "confidence", {"kind": "confidence"}]),
        ("tie", ["stated", "seeded", "fail", {"kind": "seeded", "seed": ""}]),
        ("stop", ["none", "exact", {"kind": "exact"}]),
        ("escalate", ["none", "person", "somebody", {"kind": "supervisor", "agent": "a"}]),
        ("quorum", [1, 0.5, "1/2", "50%", {}, {"share": 1}]),
        ("waves", [3, [1, 2], {"sizes": [1], "max": 4}, None]),
    ],
)
def test_each_short_form_is_told(part: str, forms: list[Any]) -> None:
    schema = Vote.model_json_schema()
    for one in forms:
        payload = {"voters": ["a"], "choices": ["x", "y"], part: one}
        assert fits(payload, schema), one
        assert valid(Vote, payload), one


@pytest.mark.parametrize("contract", [*WHOLE, VotePolicy], ids=lambda c: c.__name__)
def test_a_schema_is_json(contract: type[Contract]) -> None:
    text = json.dumps(contract.model_json_schema(), allow_nan=False)
    assert "$defs" in text


def test_what_is_written_is_read() -> None:
    for contract, whole in WHOLE.items():
        made = contract.model_validate(whole)
        assert contract.model_validate(made.compact()) == made
        assert fits(json.loads(json.dumps(made.compact())), contract.model_json_schema())
