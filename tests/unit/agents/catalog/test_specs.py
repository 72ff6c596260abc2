"""Specs, held against the agents that they are made of."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from agents.catalog.entries import CeleryEntry
from agents.catalog.kinds import Resources
from agents.catalog.registry import Registry
from agents.catalog.specs import check_specs, eligible, told
from agents.net.clients import SharedClients
from app.execution.others.celery_agent import CeleryBackend
from celery_agents import AgentSpec
from celery_agents.errors import InvalidPayloadError, UnknownAgentError

TOML = """
[agents.writer]
kind = "openai"
model = "m"
base_url = "http://127.0.0.1:1/v1"
description = "Writes."
tools = ["tests.support.team:weigh", "agent:critic"]

[agents.critic]
kind = "http"
url = "http://127.0.0.1:1/critic"

[agents.shop]
kind = "celery"
task = "shop.answer"
queue = "shop"

[agents.either]
kind = "router"
among = ["writer", "other"]

[agents.other]
kind = "openai"
model = "n"
base_url = "http://127.0.0.1:2/v1"

[agents.lead]
kind = "openai"
model = "m"
base_url = "http://127.0.0.1:1/v1"
tools = ["spawn:writer"]

[agents.plain]
kind = "function"
function = "tests.unit.agents.catalog.test_specs:plain"

[agents.leading]
kind = "function"
function = "tests.unit.agents.catalog.test_specs:leading"
"""


def plain(text: str) -> str:
    return text


def leading(text: str, instructions: str | None, team: tuple[AgentSpec, ...]) -> str:
    return f"{text} {instructions} {len(team)}"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    path: Path = tmp_path_factory.mktemp("specs") / "agents.toml"
    path.write_text(TOML)

    def celery(entry: CeleryEntry) -> CeleryBackend:
        no_app: Any = None
        return CeleryBackend(no_app, entry, lambda _: None)

    with ThreadPoolExecutor(1) as executor:
        made = Registry(Resources(lambda _: None, executor, SharedClients(), celery))
        made.load(config=path, modules=())
        yield made


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"base": "nobody"}, "no agent 'nobody'"),
        ({"base": "writer", "tools": ["weight"]}, "no tool 'weight'.*'weigh'"),
        ({"base": "writer", "traits": ["ters"]}, "no trait.*'terse'"),
        ({"base": "either", "tools": ["weigh"]}, "no tool 'weigh'"),  # one that may answer has not
        ({"base": "critic", "tools": []}, "a http agent has no tools"),
        ({"base": "critic", "members": ["writer"]}, "asks no members"),
        ({"base": "shop", "instructions": "x"}, "its input alone"),
        ({"base": "plain", "traits": ["terse"]}, "no parameter instructions"),
        ({"base": "plain", "members": ["writer"]}, "no parameter team"),
        ({"base": "leading", "tools": []}, "a function has no tools"),
        ({"base": "leading", "members": [{"base": "plain", "tools": []}]}, "plain cannot be made"),
    ],
)
def test_no_spec_is_more_than_its_base(registry: Registry, spec: Any, why: str) -> None:
    with pytest.raises((InvalidPayloadError, UnknownAgentError), match=why):
        check_specs(registry, [AgentSpec.model_validate(spec)])


@pytest.mark.parametrize(
    "spec",
    [
        {"base": "writer", "tools": ["ask_critic"], "traits": ["terse"], "members": ["critic"]},
        {"base": "either", "instructions": "x"},
        {"base": "critic", "instructions": "x"},
        {"base": "shop", "name": "till"},
        {"base": "leading", "instructions": "x", "members": ["plain", "shop"]},
    ],
)
def test_what_a_base_can_be(registry: Registry, spec: Any) -> None:
    check_specs(registry, [AgentSpec.model_validate(spec)])


def test_a_model_chooses_among_those_who_may_be_asked_anyway(registry: Registry) -> None:
    assert eligible(registry, "lead", "plain") is None
    assert eligible(registry, "lead", "writer") == ("critic", "writer")
    assert eligible(registry, "plain", "critic") == ()
    assert eligible(registry, "lead", "nobody") == ("writer",)


def test_what_a_model_is_told_of_them(registry: Registry) -> None:
    assert told(registry, ["writer", "critic"]).splitlines() == [
        "- writer: Writes. Tools: weigh, ask_critic.",
        "- critic: ",
    ]
    tools = {spec.name: spec for spec in registry.get("lead").backend._tools.unlisted.specs}  # type: ignore[attr-defined]
    offered: Any = tools["spawn_writer"].parameters["properties"]
    assert offered["tools"]["items"]["enum"] == ["weigh", "ask_critic"]
    assert tools["spawn_writer"].description.endswith("Writes.")
    assert registry.get("lead").asks == ("writer",)
