"""Rules and dashboards of ``deploy/``: what they ask for is told, and promtool finds no fault."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.telemetry.metrics import METRICS
from tests.support.dashboards import GRAFANA, RULES
from tests.support.prometheus import needs_promtool, promtool

ROOT = Path(__file__).resolve().parents[3]
NAME = re.compile(r"\bagents_[a-z_]+")
#: What the pages of workers and of the API add to the names of metrics.
SUFFIX = re.compile(r"_(total|bucket|count|sum)$")


@needs_promtool
def test_rules_are_right() -> None:
    assert "SUCCESS" in promtool("check", "rules", str(RULES))


@needs_promtool
def test_alerts_ring_and_are_silent_as_they_should() -> None:
    assert "SUCCESS" in promtool("test", "rules", str(RULES.with_name("rules_test.yml")))


@pytest.mark.parametrize("source", [RULES, GRAFANA], ids=lambda p: p.name)
def test_each_name_is_told_and_documented(source: Path) -> None:
    page = (ROOT / "docs" / "watching.md").read_text()
    code = "".join(p.read_text() for p in (ROOT / "app").rglob("*.py"))
    code += (ROOT / "api" / "under_way.py").read_text()
    asked = {SUFFIX.sub("", n) for n in NAME.findall(source.read_text())}
    asked = {name for name in asked if not name.startswith("agents_cache_")}  # docs/caching.md
    assert len(asked) > 10
    for name in asked:
        assert name in METRICS or f'"{name}"' in code, name
        assert name in page, name


def test_every_alert_is_on_the_page() -> None:
    """Whoever is woken finds what it means."""
    page = (ROOT / "docs" / "watching.md").read_text()
    for alert in re.findall(r"alert: (\w+)", RULES.read_text()):
        assert f"`{alert}`" in page, alert
