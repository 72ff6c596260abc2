"""``agents map``: what it tells the client."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from click.testing import CliRunner

from celery_agents.client.overview.maps import map_group


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([], {}),
        (["--agent", "a"], {"agent": "a"}),
        (
            ["--agent", "a", "--agent", "b", "--assign", "least_busy", "--max-concurrent", "4"],
            {"agent": ["a", "b"], "assign": "least_busy", "max_concurrent": 4},
        ),
    ],
)
def test_whom_it_asks_again(given: list[str], told: dict[str, Any]) -> None:
    resume = Mock(return_value=SimpleNamespace(id="new"))
    client = SimpleNamespace(map=SimpleNamespace(resume=resume))
    done = CliRunner().invoke(map_group(lambda _: nullcontext(client)), ["resume", "r", *given])
    assert (done.exit_code, done.output.strip()) == (0, "new"), done.output
    resume.assert_called_once_with("r", **told)


def test_a_way_of_dealing_that_is_none() -> None:
    group = map_group(lambda _: nullcontext())
    assert CliRunner().invoke(group, ["resume", "r", "--assign", "any"]).exit_code == 2
