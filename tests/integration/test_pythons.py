"""What is published, installed on each Python that it names: a worker and a client."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import pytest

from deploy.local.state import ROOT
from deploy.release import building
from tests.integration.test_floors import NEWEST
from tests.support.drawn import is_full
from tests.support.pythons import find, served
from tests.support.validators import missing, needs
from tests.support.wheel import Venv, known_versions, published

pytestmark = [
    pytest.mark.databases("none"),
    pytest.mark.slow,
    pytest.mark.timeout(600),
    needs("uv"),
]

#: The newest one is named by no classifier before all wheels that we need are there.
VERSIONS = ["3.11", "3.12", "3.13", "3.14"]
#: That of the tests, on which test_wheel.py has the wheel in each run.
OWN = f"{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.fixture(scope="module")
def wheel() -> Path:
    """That of ./run release."""
    try:
        (made,) = published().glob("*.whl")
    except building.BuildError as error:
        missing(f"it cannot be built here: {error}")
    return made


@pytest.mark.skipif(not is_full(), reason="in full: test_floors.py has a client on the newest")
@pytest.mark.parametrize("version", VERSIONS)
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
    with served(made.python, redis_url, tmp_path) as said:
        answers = said("ask.py")
    assert answers == [
        f"{version} {version}",
        "10 N9",
        f"['HI', '{version}', 'END']",
    ]


def test_each_python_that_is_named_is_tried() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [c.rpartition(" ")[2] for c in project["classifiers"] if "Python :: 3." in c]
    named.sort(key=VERSIONS.index)
    assert named == VERSIONS[: len(named)]
    assert [*reversed(named)][: len(NEWEST)] == [*NEWEST]
    assert OWN in VERSIONS
