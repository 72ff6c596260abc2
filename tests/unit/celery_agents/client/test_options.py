"""What type checkers know of options is what the contracts take."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from pydantic import TypeAdapter, ValidationError

from celery_agents.client import options
from celery_agents.client.teams.solve import SolveOptions
from celery_agents.client.teams.team import TeamOptions
from celery_agents.contracts.ask import Ask, StepOptions
from celery_agents.contracts.gather import Gather
from celery_agents.contracts.mapping import Map
from celery_agents.contracts.patterns import Fallback, Vote
from celery_agents.contracts.policies import RetryPolicy
from celery_agents.contracts.teams.solve import Solve
from celery_agents.contracts.teams.team import Team

#: The client's own, and what is positional.
OWN = {"id", "priority", "tenant"}
VERBS = [
    (options.AskOptions, Ask, {"agent", "input", "repeats"}),
    (options.FallbackOptions, Fallback, {"candidates", "input"}),
    (options.VoteOptions, Vote, {"voters", "input"}),
    (options.GatherOptions, Gather, {"agents", "input"}),
    (options.MapOptions, Map, {"agent", "agents", "digest", "each", "input", "pages", "resumes"}),
    (SolveOptions, Solve, {"strategies", "input"}),
    (TeamOptions, Team, {"lead", "input"}),
]
CASES = [
    (hint, contract, name)
    for typed, contract, _ in VERBS
    for name, hint in get_type_hints(typed).items()
    if name not in OWN
]
#: One of each shape that an option may have.
SHAPES: list[Any] = [
    *(None, True, False, 1, 0.5, "x", "1/2", [1], ["x"], (2,), ("x",), {}),
    *({"value": 1}, {"agent": "a"}, {"max_attempts": 2}, {"kind": "plurality"}),
    *({"kind": "seeded"}, {"kind": "lead"}, {"kind": "confidence"}, {"kind": "person"}),
]


def takes(kind: Any, value: Any, *, strict: bool | None = None) -> bool:
    try:
        TypeAdapter(kind).validate_python(value, strict=strict)
    except ValidationError:
        return False
    return True


def words(kind: Any) -> Iterator[str]:
    """The texts that a hint names one by one."""
    if get_origin(kind) is Literal:
        yield from (arg for arg in get_args(kind) if isinstance(arg, str))
    elif not isinstance(kind, type):
        for part in get_args(kind):
            yield from words(part)


def listed(schema: dict[str, Any]) -> set[str]:
    """The same of a JSON Schema, at its top."""
    found = {*schema.get("enum", ()), *([schema["const"]] if "const" in schema else [])}
    for part in schema.get("anyOf", ()):
        found |= listed(part)
    return {word for word in found if isinstance(word, str)}


@pytest.mark.parametrize(("typed", "contract", "positional"), VERBS)
def test_every_option_is_known_and_no_other(
    typed: Any, contract: type[StepOptions], positional: set[str]
) -> None:
    assert set(get_type_hints(typed)) - OWN == set(contract.model_fields) - positional


def test_the_fields_of_a_retry_are_known() -> None:
    assert set(get_type_hints(options.RetryFields)) == set(RetryPolicy.model_fields)


@pytest.mark.parametrize(("hint", "contract", "name"), CASES)
def test_words_are_those_of_the_contract(hint: Any, contract: type[StepOptions], name: str) -> None:
    field = contract.model_fields[name].rebuild_annotation()
    assert set(words(hint)) == listed(TypeAdapter(field).json_schema())
    assert all(takes(field, word) for word in words(hint))


@pytest.mark.parametrize(("hint", "contract", "name"), CASES)
def test_no_right_option_is_refused_by_a_checker(
    hint: Any, contract: type[StepOptions], name: str
) -> None:
    """None is an option that is not given, whatever the contract says of it."""
    field = contract.model_fields[name].rebuild_annotation()
    assert takes(hint, None)
    for value in SHAPES:
        if takes(field, value):
            assert takes(hint, value, strict=True), value
