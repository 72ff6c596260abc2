from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from celery_agents.contracts.ask import Ask
from celery_agents.contracts.memory import MemoryPolicy, NewMemories, scope_of
from celery_agents.errors import InvalidPayloadError


@pytest.mark.parametrize(
    ("space", "scope", "name"),
    [
        ("all", {}, "all"),
        ("customer/{customer}", {"customer": "c-81", "other": "x"}, "customer/c-81"),
        ("{a}/of/{b}", {"a": "1", "b": "2"}, "1/of/2"),
    ],
)
def test_a_space_is_named_by_a_scope(space: str, scope: dict[str, str], name: str) -> None:
    assert MemoryPolicy(space=space).filled(scope, "m") == name


def test_a_missing_value_is_an_error() -> None:
    policy = MemoryPolicy(space="customer/{customer}")
    with pytest.raises(InvalidPayloadError, match=r"'customer'.*scope="):
        policy.filled({"customers": "x"}, "m")
    with pytest.raises(InvalidPayloadError, match="too long"):
        MemoryPolicy(space="s" * 150 + "{a}").filled({"a": "x" * 100}, "m")


@pytest.mark.parametrize(
    "fields",
    [
        {"space": ""},
        {"space": "{}"},
        {"space": "{a"},
        {"space": "a}"},
        {"space": "{a b}"},
        {"space": "{a}-{b}"},
        {"space": "s", "capacity_tokens": 0},
        {"space": "s", "half_life_days": 0},
        {"space": "s", "language": "English!"},
    ],
)
def test_policies_that_are_none(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        MemoryPolicy(**fields)


@pytest.mark.parametrize(
    "scope", [{"a": ""}, {"a": "x/y"}, {"a": "x\n"}, {"a b": "x"}, {"a": 1}, [], {"a": "x" * 101}]
)
def test_scopes_that_are_none(scope: Any) -> None:
    with pytest.raises(InvalidPayloadError, match="scope"):
        scope_of(scope)
    with pytest.raises(InvalidPayloadError, match="scope"):
        Ask.from_message(["x"], {"agent": "a", "scope": scope})


def test_memories_of_a_message() -> None:
    read = NewMemories.read({"name": "m", "texts": ["x"]})
    assert (read.texts, read.importance) == (("x",), 1.0)
    for wrong in ({}, {"name": "m", "texts": []}, {"name": "m", "texts": ["x"], "importance": 2}):
        with pytest.raises(InvalidPayloadError, match="memories: "):
            NewMemories.read(wrong)
