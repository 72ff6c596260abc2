"""Agents for one task, as values that travel."""

from __future__ import annotations

import json
from typing import Any

import pytest

from celery_agents import AgentSpec, Ask
from celery_agents.contracts.teams.spec import MEMBERS_MAX, SUBTEAMS_MAX, with_members
from celery_agents.contracts.teams.team import Team
from celery_agents.errors import InvalidPayloadError


def deep(levels: int) -> dict[str, Any]:
    """A spec with sub-teams in each other."""
    found: dict[str, Any] = {"base": "a"}
    for _ in range(levels):
        found = {"base": "a", "members": [found]}
    return found


def read(members: Any) -> Team:
    return Team.from_message(["x"], {"lead": "boss", "members": members})


def test_names_and_specs_are_read_and_written_alike() -> None:
    writer = {"base": "writer", "name": "poet", "traits": ["terse"], "tools": []}
    team = read(["critic", {**writer, "members": ["critic"]}])
    assert isinstance(team.members, tuple)
    assert [one.called for one in with_members(team.members)] == ["critic", "poet", "critic"]
    poet = team.members[1]
    assert (poet.traits, poet.tools) == ({"terse": 0.5}, ())
    told = json.loads(json.dumps(team.message_options()))
    assert Team.from_message(["x"], told) == team
    assert read("staffing").members == "staffing"


@pytest.mark.parametrize(
    ("members", "why"),
    [
        (["a", "a"], "two are named 'a'"),
        (["a", {"base": "b", "name": "a"}], "two are named 'a'"),
        ([{"base": "a", "members": ["b", "b"]}], "two are named 'b'"),
        ([{"base": "a", "api_key_env": "OTHERS"}], "api_key_env"),
        ([{"base": "a", "model": "dearer"}], "model"),
        ([{"base": "a", "name": "two words"}], "name"),
        ([{"base": "a", "traits": {"terse": 2}}], "traits"),
        ([deep(SUBTEAMS_MAX)], "deep in each other"),
        ([f"a{n}" for n in range(MEMBERS_MAX + 1)], "members"),
        (
            [{"base": "a", "members": [f"b{n}" for n in range(MEMBERS_MAX)]}],
            f"more than {MEMBERS_MAX}",
        ),
    ],
)
def test_what_is_no_team_is_told_where(members: Any, why: str) -> None:
    with pytest.raises(InvalidPayloadError, match=why):
        read(members)


def test_a_spec_stands_in_the_place_of_an_agent() -> None:
    spec = AgentSpec(base="writer", instructions="In rhymes.")
    asked = Ask.from_message(["x"], {"agent": spec})
    assert (asked.agent, asked.spec) == ("writer", spec)
    assert Ask.from_message(["x"], asked.message_options()) == asked
    assert Ask.from_message(["x"], {"agent": AgentSpec(base="writer")}).spec is None


@pytest.mark.parametrize(
    ("more", "why"),
    [({"agent": "other"}, "its base is 'writer'"), ({"session": "s"}, "session")],
)
def test_a_spec_is_of_its_base_alone_and_has_no_session(more: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidPayloadError, match=why):
        Ask.from_message(["x"], {"agent": "writer", "spec": {"base": "writer"}, **more})
