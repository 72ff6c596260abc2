from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
from celery import Celery, current_app
from celery.app.utils import find_app

import celery_agents
from agents.base import StepContext
from agents.tools import Toolset, tool
from app.embedding import install
from celery_agents import service
from deploy.local.state import ROOT


def test_celery_finds_its_app(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    before = current_app._get_current_object()
    try:
        found = find_app("celery_agents.service")
        assert isinstance(found, Celery)
        assert found is service.celery
    finally:
        before.set_default()


@pytest.mark.parametrize(
    ("name", "thing"), [("tool", tool), ("StepContext", StepContext), ("Toolset", Toolset)]
)
def test_authors_of_agents_import_from_one_package(name: str, thing: Any) -> None:
    assert getattr(celery_agents, name) is thing
    assert getattr(service, name) is thing
    assert name in celery_agents.__all__


def test_its_names_are_there_and_no_others() -> None:
    assert service.install is install
    assert all(hasattr(service, name) for name in set(service.__all__) - {"celery"})
    for module in (service, celery_agents):
        with pytest.raises(AttributeError, match="no attribute 'absent'"):
            _ = module.absent


def test_without_the_extra() -> None:
    """Modules with agents can be imported by programs that only enqueue; a worker cannot start."""
    code = """
import sys
for extra in ("pydantic_settings", "sqlalchemy", "alembic", "structlog", "greenlet", "tenacity"):
    sys.modules[extra] = None
from celery_agents.service import tool, StepContext
print("as authors of agents do")
from celery_agents.service import install
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "as authors of agents do\n", done.stderr
    assert "pip install 'celery-agents[worker]'" in done.stderr
