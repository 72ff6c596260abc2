"""What the pages show runs, prints what they say it prints, and what they name exists."""

from __future__ import annotations

import ast
import json
import re
import runpy
import shlex
import subprocess
import tomllib
from contextlib import redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path
from string import Template
from typing import Any

import pytest

from agents.catalog.kinds import all_kinds
from agents.catalog.panels import read_panels
from agents.catalog.registry import read_entries
from deploy.local.state import ROOT
from tests.docs.blocks import Block, anchors, blocks, links, pages
from tests.support import forks
from tests.support.service import CHECKOUT

PAGES = pages()
NAMES = [str(p.relative_to(ROOT)) for p in PAGES]
#: Its one block starts a whole stack; tests/unit/deploy and tests/integration do so already.
STARTS_A_STACK = "docs/running.md"
#: Pages whose code asks a service of their own: a process of the API; the file that the page has.
SERVED = {ROOT / "docs" / "openai.md": "openai_api", ROOT / "docs" / "tutorial.md": "tutorial"}
WITH_PYTHON = [p for p in PAGES if blocks(p, "python") and p != ROOT / STARTS_A_STACK]
#: Programs of examples/ that run against a service that is up.
PROGRAMS = ["ask.py", "concurrent.py", "decide.py", "solve.py", "team.py", "undo.py"]
CLI = re.compile(r"^celery -A app agents .*", re.MULTILINE)


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def run_block(block: Block, page: Path, namespace: dict[str, Any]) -> None:
    told = StringIO()
    code = compile(block.padded, str(page), "exec")
    with redirect_stdout(told):
        exec(code, namespace)
    assert told.getvalue().splitlines() == block.printed, f"{named(page)}:{block.line}"


@cache
def commands_of_the_run_script() -> set[str]:
    done = subprocess.run([ROOT / "run", "help"], capture_output=True, text=True, check=True)
    return {*re.findall(r"^  (\w+)", done.stdout, re.MULTILINE), "help"}


@pytest.mark.parametrize("page", WITH_PYTHON, ids=named)
def test_python_runs(
    page: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The blocks of a page run in their order, as one program; then its commands do."""
    documented: dict[str, str] = request.getfixturevalue(SERVED.get(page, "documented"))
    for name, value in documented.items():
        monkeypatch.setenv(name, value)
    namespace: dict[str, Any] = {"__name__": "page"}
    for block in blocks(page, "python"):
        if block.fragment:
            compile(block.padded, str(page), "exec")
        else:
            run_block(block, page, namespace)
    shell = "\n".join(b.code for b in blocks(page, "sh") if not b.fragment)
    for command in CLI.findall(shell):
        run_command(command, namespace, documented)


def run_command(command: str, namespace: dict[str, Any], env: dict[str, str]) -> None:
    """Run one command of a page; ``$RUN`` and ``$WAITING`` are ids of runs that it made."""
    ids = {k.upper(): namespace[k].id for k in ("run", "waiting") if k in namespace}
    argv = ["sh", "-c", command]
    if not set(command) & set("|&;<>()`\\\n"):  # the shell would do no more
        _, *words = shlex.split(Template(command).substitute(ids), comments=True)
        argv = CHECKOUT.celery(*words)
    done = forks.run(argv, CHECKOUT.environment({**env, **ids}), ROOT, 60)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_run(
    program: str,
    documented: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("REDIS_URL", documented["REDIS_URL"])
    path = ROOT / "examples" / program
    runpy.run_path(str(path), run_name="__main__")
    docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
    said = [line[4:] for line in docstring.splitlines() if line.startswith("    ")]
    assert said, "the docstring says what it prints, indented"
    assert capsys.readouterr().out.splitlines() == said


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
class TestEveryPage:
    def test_json_is_json(self, page: Path) -> None:
        for block in blocks(page, "json"):
            json.loads(block.code)

    def test_toml_names_agents(self, page: Path, tmp_path: Path) -> None:
        for number, block in enumerate(blocks(page, "toml")):
            tables = tomllib.loads(block.code)
            path = tmp_path / f"{number}.toml"
            path.write_text(block.code)
            if "agents" in tables:
                assert read_entries(path, all_kinds())
            if "panels" in tables:
                assert read_panels(path)

    def test_links_lead_somewhere(self, page: Path) -> None:
        for link in links(page):
            name, _, anchor = link.partition("#")
            target = (page.parent / name).resolve() if name else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link

    def test_commands_of_the_run_script_exist(self, page: Path) -> None:
        text = page.read_text(encoding="utf-8")
        assert set(re.findall(r"\./run ([a-z]+)", text)) <= commands_of_the_run_script()

    def test_files_that_are_named_exist(self, page: Path) -> None:
        """Paths in backticks, below the folders of this repository."""
        text = page.read_text(encoding="utf-8")
        folders = "agents|app|beat_schedules|celery_agents|deploy|docs|examples|tasks|tests"
        for path in re.findall(rf"`((?:{folders})/[\w./-]+?)(?:::[\w.:]+)?`", text):
            assert (ROOT / path).exists(), path

    def test_tests_that_are_named_exist(self, page: Path) -> None:
        for path, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page.read_text("utf-8")):
            assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), name


def test_pages_are_found() -> None:
    assert {"README.md", "docs/wire.md", "docs/settings.md"} <= set(NAMES)
    assert len(WITH_PYTHON) > 3
