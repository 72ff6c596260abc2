"""The page of settings has every setting with its default, and the numbers of the code."""

from __future__ import annotations

import re

import pytest
from pydantic import SecretStr

from app.celeryconfig import celery_config
from app.execution import patience
from app.journal.schema import transactions
from app.settings import Settings
from celery_agents.contracts.policies import RetryPolicy
from celery_agents.transport import transport_options
from deploy.local.state import ROOT

PAGE = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", PAGE, re.MULTILINE))


def written(default: object) -> str:
    """A default as the page writes it."""
    match default:
        case SecretStr():
            return f"`{default.get_secret_value()}`"
        case str():
            return f"`{default}`"
        case None | ():
            return "none"
        case float():
            return f"{default:g}"
        case _:
            return str(default)


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_with_its_default(name: str) -> None:
    assert ROWS[name] == written(Settings.model_fields[name].default)


def test_every_setting_of_celery() -> None:
    told = set(re.findall(r"`(\w+)`", PAGE))
    assert celery_config(Settings()).keys() <= told
    assert transport_options(visibility_timeout_s=1, redis_timeout_s=1).keys() <= told


def test_how_often_something_is_tried() -> None:
    config = celery_config(Settings())
    assert f"claims ({RetryPolicy().max_attempts})" in PAGE
    assert f"{transactions.DATABASE_ATTEMPTS} tries within about a second" in PAGE
    assert f"again for {patience.JOURNAL_PATIENCE_S:.0f} s" in PAGE
    assert f"{config['task_publish_retry_policy']['max_retries'] + 1} tries (`task_publ" in PAGE
    assert f"{config['result_backend_max_retries'] + 1} tries (`result_backend" in PAGE
