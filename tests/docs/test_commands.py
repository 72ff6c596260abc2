"""Commands of the pages are ones that there are, and the client's page names all of ours."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from app.cli.commands import commands
from celery_agents.client.cli import agents
from deploy.local.state import ROOT
from tests.docs.blocks import blocks, pages
from tests.docs.commands import UnknownCommandError, check, fenced, inline
from tests.support.service import CHECKOUT

PAGE = (ROOT / "docs" / "client.md").read_text(encoding="utf-8")
SHELLS = {"sh", "sh fragment"}


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


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_commands_of_a_page_are_known(page: Path) -> None:
    files = [block.file for block in blocks(page, "python") if block.file]
    for line in [*fenced(page), *inline(page)]:
        check(line, files)


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_files_that_a_page_shows_are_as_it_shows_them(page: Path) -> None:
    for block in blocks(page, "python"):
        if "/" in block.file:  # else it is one that the reader makes
            assert (ROOT / block.file).read_text(encoding="utf-8") == block.code


def test_commands_stand_in_blocks_that_are_checked() -> None:
    languages = set()
    for page in pages():
        languages |= set(re.findall(r"^```(\S.*)$", page.read_text("utf-8"), re.MULTILINE))
    assert {name for name in languages if re.match(r"(ba|z)?sh|console|shell", name)} <= SHELLS
    assert len([line for page in pages() for line in fenced(page)]) > 15
    assert len([line for page in pages() for line in inline(page)]) > 15


@pytest.mark.parametrize(
    "line",
    [
        "./run dmeo",
        "./run demo --modles",
        "./run chaos --bogus 3",
        "./run chaos --only nothing-of-this-name",
        "./run bench nothing-of-this-name",
        "./run up now",
        "./run test tests/nothing",
        "./run ask hello.py topic",
        "./run ask examples/first/goodbye.py topic hello",
        ". .local/evn",
        ". .venv/bin/activate; python ask.py",
        "celery -A nowhere worker",
        "celery -A app agents aks shout hello",
        "celery -A app agents db status",
        "celery -A app agents clean --dryrun",
        "POOL=threads pytest",
        "pip install celery-agents",
    ],
)
def test_what_would_not_work_is_refused(line: str) -> None:
    with pytest.raises(UnknownCommandError):
        check(line)


@pytest.mark.parametrize(
    ("line", "files"),
    [
        ("./run demo --json FILE  # one's own", ()),
        ("POOL=threads ./run test tests/unit -x", ()),
        (". .venv/bin/activate; . .local/env && celery -A app inspect active", ()),
        ("celery -A waiting worker --concurrency 500", ("waiting.py",)),
        ("celery -A app agents vote -v nouns -v verbs 'I paid; twice!'", ()),
    ],
)
def test_what_works_is_not(line: str, files: tuple[str, ...]) -> None:
    check(line, files)


def test_the_first_agent_answers(tmp_path: Path) -> None:
    """README's walk: one file, one command, one answer; here without setting up again."""
    page = ROOT / "README.md"
    (walk,) = [b for b in blocks(page, "sh") if b.code.startswith("./run ask ")]
    words = shlex.split(walk.code.splitlines()[0])[1:]
    env = CHECKOUT.environment({})
    for server in ("REDIS_URL", "DATABASE_URL"):
        env.pop(server, None)
    asked = subprocess.run(
        [sys.executable, "-P", "-m", "deploy.local", *words],
        env={**env, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert asked.stdout.splitlines() == walk.printed, asked.stderr
