"""What pages for people who come from elsewhere name is there: verbs, fields, rules, metrics."""

from __future__ import annotations

import re
from operator import attrgetter
from pathlib import Path

import pytest

from agents.catalog.kinds import all_kinds
from agents.catalog.registry import read_entries
from app.settings import Settings
from celery_agents import Client
from celery_agents.contracts.vote import VotePolicy
from deploy.local.state import ROOT

PAGES = [ROOT / "docs" / f"{name}.md" for name in ("from-orchestrators", "migration")]
_LINES = [line for page in PAGES for line in page.read_text("utf-8").splitlines()]
#: The right columns of their tables, and what they quote.
HERE = [line.split("|")[2:-1] for line in _LINES if line.startswith("| ")]
QUOTED = sorted({c for row in HERE for cell in row for c in re.findall(r"`([^`]+)`", cell)})
TEXT = (ROOT / "docs" / "watching.md").read_text(encoding="utf-8")
FIELDS = ("backup", "breaker", "cache", "criteria", "memory", "probe", "style", "traits", "window")
MODEL = '[agents.a]\nkind = "openai"\nmodel = "gpt-5-mini"\ntemperature = 0\n'


def told(pattern: str) -> list[str]:
    return sorted({m for quoted in QUOTED for m in re.findall(pattern, quoted)})


@pytest.mark.parametrize("verb", told(r"\bagents\.([a-z_.]+)\("))
def test_a_verb_is_the_clients(verb: str) -> None:
    assert callable(attrgetter(verb)(Client("redis://127.0.0.1:1/0")))


@pytest.mark.parametrize("line", [q for q in QUOTED if q.split(" = ")[0] in FIELDS and " = " in q])
def test_a_field_is_an_entrys(line: str, tmp_path: Path) -> None:
    config = tmp_path / "agents.toml"
    config.write_text(f"{MODEL}{line}\n", encoding="utf-8")
    assert list(read_entries(config, all_kinds())) == ["a"]


@pytest.mark.parametrize("rule", told(r'^(?:rule=)?"(majority|supermajority|unanimous|\w*runoff)"'))
def test_a_rule_is_a_votes(rule: str) -> None:
    assert (
        VotePolicy.model_validate({"voters": ["a"], "choices": ["x"], "rule": rule}).rule.kind
        == rule
    )


@pytest.mark.parametrize("metric", told(r"^agents_[a-z_]+$"))
def test_a_metric_is_one_of_ours(metric: str) -> None:
    assert f"`{metric}`" in TEXT


@pytest.mark.parametrize("variable", told(r"^AGENTS_([A-Z_]+)$"))
def test_a_variable_is_a_setting(variable: str) -> None:
    assert variable.lower() in Settings.model_fields


def test_they_are_found() -> None:
    assert len(told(r"\bagents\.([a-z_.]+)\(")) > 10
    assert len(told(r"^agents_[a-z_]+$")) > 5
