"""Voters as reliable as people say that they are, with real workers, on both databases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from celery_agents.errors import InvalidPayloadError
from tests.integration.harness import FAST, SOON_S, Location, Stack, celery
from tests.support.service import APP

pytestmark = pytest.mark.databases("one")

CONFIG = "".join(
    f"""
[agents.{name}]
kind = "scripted"
replies = [{{ value = "{said}" }}]
"""
    for name, said in {"sound": "yes", "odd": "no", "odder": "no"}.items()
)
VOTERS = ["sound", "odd", "odder"]


def test_a_vote_goes_by_what_people_have_said(own_location: Location, tmp_path: Path) -> None:
    config = tmp_path / "agents.toml"
    config.write_text(CONFIG)
    stack = Stack(*own_location, FAST | {"AGENTS_CONFIG": str(config)})
    try:
        stack.worker()
        vote = stack.client.vote
        about: Any = {"choices": ["yes", "no"], "weights": "reliability"}
        runs = [vote(VOTERS, f"Question {n}?", **about) for n in range(6)]
        assert {run.get(timeout=SOON_S).option for run in runs} == {"no"}
        for run in runs:
            for right in (True, False, False):  # the last one counts
                stack.client.verdicts.give(run.id, right, timeout=SOON_S)
        records = stack.client.verdicts.voters(timeout=SOON_S)
        told = {name: (r.right, r.judged, r.agreed, r.decided) for name, r in records.items()}
        assert told == {"sound": (6, 6, 0, 6), "odd": (0, 6, 6, 6), "odder": (0, 6, 6, 6)}
        assert vote(VOTERS, "Another?", **about).get(timeout=SOON_S).option == "yes"
        # Of another tenant nothing is known.
        other = vote(VOTERS, "Another?", tenant="other", **about)
        assert other.get(timeout=SOON_S).option == "no"
        command = ("-A", APP, "agents", "verdict", runs[0].id, "right", "--json")
        assert celery(*command, env=stack.env).returncode == 0
        shown = celery("-A", APP, "agents", "voters", "--json", env=stack.env)
        assert json.loads(shown.stdout)["sound"]["right"] == 5
        asked = stack.client.ask("sound", "?")
        asked.get(timeout=SOON_S)
        with pytest.raises(InvalidPayloadError, match="no run"):
            stack.client.verdicts.give(asked.id, True, timeout=SOON_S)
    finally:
        stack.close()
