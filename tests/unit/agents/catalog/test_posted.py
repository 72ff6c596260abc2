"""Secrets of agents that were made over the API go where they are allowed to, and nowhere else."""

from __future__ import annotations

from typing import Any, cast

import pytest
from pydantic import TypeAdapter, ValidationError

from agents.catalog.kinds import Resources, all_kinds
from agents.catalog.posted import AllowedSecrets, OutsideClients, PostedEntry, posted_agent
from agents.catalog.registry import Registered, Registry, replace_posted
from agents.net.clients import SharedClients
from agents.net.outside import PrivateHosts
from celery_agents.errors import ConfigurationError

ENTRY: TypeAdapter[Any] = TypeAdapter(PostedEntry)
ALLOWED = AllowedSecrets.of(["OPENAI", "TOKEN@hooks.example"])
MODEL = {"kind": "openai", "model": "m"}
HTTP = {"kind": "http"}


@pytest.mark.parametrize(
    ("entry", "allowed"),
    [
        (MODEL | {"api_key_env": "OPENAI"}, True),
        (MODEL | {"api_key_env": "OPENAI", "base_url": "https://api.evil/v1"}, False),
        (MODEL | {"api_key_env": "TOKEN"}, False),
        (MODEL | {"api_key_env": "TOKEN", "base_url": "https://hooks.example/v1"}, True),
        (MODEL | {"api_key_env": "TOKEN", "base_url": "https://HOOKS.example:99/v1?x=y"}, True),
        (MODEL | {"api_key_env": "TOKEN", "base_url": "https://hooks.example.evil/"}, False),
        (MODEL | {"api_key_env": "PATH"}, False),
        (MODEL, False),  # its provider's usual key
        (MODEL | {"base_url": "https://api.other/v1"}, True),  # none is sent
        (HTTP | {"url": "https://hooks.example/", "token_env": "TOKEN"}, True),
        (HTTP | {"url": "https://evil/", "token_env": "TOKEN"}, False),
        (HTTP | {"url": "https://evil/?hooks.example", "token_env": "OPENAI"}, False),
        (HTTP | {"url": "https://anybody/"}, True),
    ],
)
def test_where_a_secret_goes(entry: dict[str, Any], *, allowed: bool) -> None:
    given = ENTRY.validate_python(entry)
    if allowed:
        ALLOWED.check(given)
        return
    with pytest.raises(ConfigurationError, match="AGENTS_API_SECRETS"):
        ALLOWED.check(given)


@pytest.mark.parametrize(
    "entry",
    [
        {"kind": "function", "function": "os:system"},
        {"kind": "celery", "task": "t", "queue": "q"},
        {"kind": "router", "among": ["a"]},
        *(
            MODEL | {name: value}
            for name, value in {
                "tools": ["os:system"],
                "handoffs": ["a"],
                "backup": "a",
                "probe": "?",
                "compensation": "a",
                "health_url": "http://10.0.0.1/",
                "keys": ["A", "B"],
            }.items()
        ),
        HTTP | {"url": "file:///etc/passwd"},
        HTTP | {"url": "https://me:secret@example.org/"},
    ],
)
def test_what_none_can_be(entry: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ENTRY.validate_python(entry)


def test_they_are_not_probed_and_go_outside_alone() -> None:
    shared = SharedClients()
    outside = OutsideClients(shared, PrivateHosts())
    given = ENTRY.validate_python(HTTP | {"url": "https://example.org/"})
    nothing = cast("Any", None)
    made = posted_agent("x", given, all_kinds(), Resources(nothing, nothing, outside, nothing))
    assert (made.check, made.provider, made.posted) == (None, None, True)
    assert cast("Any", made.backend)._clients is outside
    model = ENTRY.validate_python(MODEL | {"api_key_env": "OPENAI"})
    made = posted_agent("y", model, all_kinds(), Resources(nothing, nothing, outside, nothing))
    assert (made.check, made.provider) == (None, None)


def test_those_of_a_worker_go_first() -> None:
    registry = Registry(cast("Any", None))
    own = Registered("a", "any", "", "effect", cast("Any", None))
    registry._add(own)
    posted = [
        Registered(name, "http", "", "effect", cast("Any", None), posted=True) for name in "ab"
    ]
    replace_posted(registry, posted)
    assert registry.get("a") is own
    assert registry.get("b") is posted[1]
    replace_posted(registry, [])
    assert [agent.name for agent in registry] == ["a"]
