"""The client's page names every command of ``celery agents``."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest

from app.cli.commands import commands
from celery_agents.client.cli import agents
from deploy.local.state import ROOT

PAGE = (ROOT / "docs" / "client.md").read_text(encoding="utf-8")


def _names(group: click.Group, before: str = "") -> Iterator[str]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _names(command, f"{before}{name} ")
        else:
            yield before + name


@pytest.mark.parametrize("name", sorted({*_names(agents), *_names(commands)}))
def test_is_on_the_page(name: str) -> None:
    table = PAGE.partition("## Command line")[2]
    assert f"`{name}" in table
