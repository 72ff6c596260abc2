"""What is published, installed on each Python that it names: a worker and a client."""

from __future__ import annotations

import os
import shutil
import sys
import tomllib
from pathlib import Path
from typing import NoReturn

import pytest

from deploy.local.state import ROOT
from deploy.release import building
from tests.support.drawn import is_full
from tests.support.pythons import find
from tests.support.validators import needs
from tests.support.wheel import Venv, known_versions, published, run
from tests.support.workers import WorkerProcess, unique_name

pytestmark = [
    pytest.mark.databases("none"),
    pytest.mark.slow,
    pytest.mark.timeout(600),
    needs("uv"),
]

PROJECT = ROOT / "tests" / "support" / "projects" / "pythons"
SERVICE = "celery_agents.service"
#: The newest one is named by no classifier before all wheels that we need are there.
VERSIONS = ["3.11", "3.12", "3.13", "3.14"]
#: That of the tests, on which tests/integration/test_wheel.py has the wheel.
OWN = f"{sys.version_info[0]}.{sys.version_info[1]}"
#: The oldest and the newest that the classifiers name, which differ most; in full all of them.
TRIED = VERSIONS if is_full() else [v for v in ("3.11", "3.13") if v != OWN]


def missing(reason: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def wheel() -> Path:
    """That of ./run release."""
    try:
        (made,) = published().glob("*.whl")
    except building.BuildError as error:
        missing(f"it cannot be built here: {error}")
    return made


@pytest.mark.parametrize("version", TRIED)
def test_an_ask_a_map_and_a_flow(
    version: str, wheel: Path, redis_url: str, disk: Path, tmp_path: Path
) -> None:
    base = find(version)
    if base is None:
        pytest.skip(f"Python {version} is not here")
    made = Venv(disk / version, base)
    try:
        made.install(wheel, "worker", "-c", str(known_versions(tmp_path)))
    except AssertionError as error:
        missing(f"on Python {version} it cannot be installed here: {str(error)[-1000:]}")
    project = shutil.copytree(PROJECT, tmp_path / "project")
    bin_ = Path(made.python).parent
    env = {
        "PATH": f"{bin_}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONPATH": "",
        "PYTHONUNBUFFERED": "1",
        "REDIS_URL": redis_url,
        "DATABASE_URL": f"sqlite:///{tmp_path / 'journal.db'}",
        "AGENTS_MODULES": "offered",
    }
    options = ["--concurrency", "8", "--without-mingle", "--without-gossip", "--loglevel", "INFO"]
    worker = WorkerProcess(
        unique_name(),
        [str(bin_ / "celery"), "-A", SERVICE, "worker", *options],
        env=env,
        directory=tmp_path,
        cwd=project,
    )
    worker.start()
    try:
        worker.wait_ready()
        said = run(made.python, "ask.py", cwd=project, env=env)
    finally:
        worker.kill()
    assert said.splitlines() == [
        f"{version} {version}",
        "10 N9",
        f"['HI', '{version}', 'END']",
    ]
    assert "Traceback" not in worker.logs()


def test_each_python_that_is_named_is_tried() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [c.rpartition(" ")[2] for c in project["classifiers"] if "Python :: 3." in c]
    named.sort(key=VERSIONS.index)
    assert {named[0], named[-1]} <= {*TRIED, OWN}
    assert OWN in VERSIONS
