"""What the project file and the lock file promise."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PUBLIC = {"https://pypi.org", "https://files.pythonhosted.org"}


def test_the_lock_file_names_only_the_public_index() -> None:
    hosts = set(re.findall(r'"(\w+://[^/"]+)', (ROOT / "uv.lock").read_text()))
    assert hosts == PUBLIC


def test_the_client_needs_celery_and_pydantic_alone() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[\[<>=]", need)[0] for need in project["dependencies"]}
    assert names == {"celery", "pydantic"}


def test_ci_runs_the_command_of_the_readme() -> None:
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    commands = [line for line in lines if line and not line.startswith("#")]
    assert commands[-1].endswith("./run test")
    assert "./run test" in (ROOT / "README.md").read_text()
