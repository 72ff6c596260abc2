"""The expressions of rules and dashboards in ``deploy/``."""

from __future__ import annotations

import json
import re
from pathlib import Path

_DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
RULES = _DEPLOY / "prometheus" / "rules.yml"
GRAFANA = _DEPLOY / "grafana" / "celery-agents.json"


def asked_for() -> list[str]:
    """All that the dashboard asks Prometheus for."""
    panels = json.loads(GRAFANA.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", ())]


def recorded() -> list[str]:
    """The names of what rules record."""
    return re.findall(r"record: (\S+)", RULES.read_text())
