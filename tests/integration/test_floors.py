"""The wheel with the lowest version of each package that it names: what it promises is there."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.metadata import parse_email
from packaging.requirements import Requirement

from tests.integration.test_pythons import PROJECT, SERVICE, missing
from tests.support.drawn import is_full
from tests.support.validators import needs
from tests.support.wheel import Venv, built, run
from tests.support.workers import WorkerProcess, unique_name

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


def lowest(folder: Path, *extras: str) -> Venv:
    """An environment with the wheel and the lowest versions of what it requires with extras.

    uv takes the lowest version of what is named to it, not of what a wheel names.
    """
    made = Venv(folder)
    wheel = built(made)
    named = {requirement for extra in ("", *extras) for requirement in required(wheel, extra)}
    command = ["uv", "--quiet", "pip", "install", "--python", made.python]
    command += ["--resolution", "lowest-direct", str(wheel), *sorted(named)]
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


def test_the_client_alone(disk: Path) -> None:
    made = lowest(disk / "floors-client")
    run(made.python, "-c", IMPORTS, "celery_agents", cwd=Path("/"), env={"PYTHONPATH": ""})


@pytest.mark.skipif(not is_full(), reason="in full: it starts a worker")
def test_a_worker(redis_url: str, disk: Path, tmp_path: Path) -> None:
    made = lowest(disk / "floors-worker", "worker", "api", "tools", "mcp")
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
    run(made.python, "-c", IMPORTS, f"{SERVICE}.api", "mcp", cwd=project, env=env)
    options = ["--concurrency", "8", "--without-mingle", "--without-gossip", "--loglevel", "INFO"]
    command = [str(bin_ / "celery"), "-A", SERVICE, "worker", *options]
    worker = WorkerProcess(unique_name(), command, env=env, directory=tmp_path, cwd=project)
    worker.start()
    try:
        worker.wait_ready()
        said = run(made.python, "ask.py", cwd=project, env=env).splitlines()
        said += run(made.python, "vote.py", cwd=project, env=env).splitlines()
    finally:
        worker.kill()
    assert said[1] == "10 N9"
    assert said[3] == "hi {'hi': 2}"
    assert "Traceback" not in worker.logs()
