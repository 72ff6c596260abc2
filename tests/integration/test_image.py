"""The steps of ``deploy/Containerfile`` in a folder, without an engine, and its command there.

An engine's own part is left out: layers, mounts, users. ``pip`` is uv, by whose cache it is quick;
it checks the same hashes.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.state import ROOT
from deploy.release import building
from tests.support.drawn import is_full
from tests.support.kept import share_compiled
from tests.support.pythons import find
from tests.support.validators import needs
from tests.support.wheel import run, take_compiled
from tests.support.workers import WorkerProcess, unique_name

pytestmark = [
    pytest.mark.databases("none"),
    pytest.mark.slow,
    pytest.mark.timeout(600),
    needs("uv"),
]

DEPLOY = ROOT / "deploy"
BUILT, FINAL = re.split(r"^FROM .*$", (DEPLOY / "Containerfile").read_text(), flags=re.MULTILINE)[
    1:
]
PACKAGES = "/opt/agents/lib/python*/site-packages"
#: In their order: what stands for programs of the image, and for its root.
STANDS_FOR = (
    (r"(\S+/)?\bpip install", lambda m: f"$UV pip install --python {m[1] or '/tools/bin/'}python"),
    (r"(?<!/)python -m venv", "/tools/bin/python -m venv --without-pip"),
    (
        r"compileall -q /opt/agents",
        f"compileall -q {PACKAGES}/celery_agents/client",
    ),  # of all: half a minute
    (r"(?<![\w*])/(opt|tools)/", r"$IMAGE/\1/"),
)


def instructions(stage: str) -> Iterator[tuple[str, str]]:
    """The instructions of a stage, each on one line."""
    told = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", stage, flags=re.MULTILINE))
    for line in filter(None, told.splitlines()):
        word, _, rest = line.partition(" ")
        yield word, rest


def command_of(step: str) -> str:
    """What a step runs, in a folder in place of an image."""
    for pattern, instead in STANDS_FOR:
        step = re.sub(pattern, instead, step)
    return step


def copied(build: Path) -> None:
    """Copy what Git tracks and the ignore file lets through."""
    rules = (DEPLOY / "Containerfile.dockerignore").read_text().splitlines()
    wanted = {rule[1:] for rule in rules if rule.startswith("!")}
    for name in building.tracked(ROOT):
        if name.partition("/")[0] in wanted:
            (build / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, build / name)


@pytest.fixture(scope="module")
def image(disk: Path) -> Path:
    """A folder in which all steps of the build were run; in full by the Python of the image."""
    (named,) = set(
        re.findall(r"^FROM python:(\d\.\d+)", (DEPLOY / "Containerfile").read_text(), re.MULTILINE)
    )
    base = (find(named) if is_full() else None) or Path(sys.executable)
    build = disk / "build"
    build.mkdir()
    run(str(base), "-m", "venv", "--without-pip", str(disk / "tools"), cwd=disk)
    path = os.pathsep.join([str(disk / "tools" / "bin"), "/usr/bin", "/bin"])
    env = {"PATH": path, "IMAGE": str(disk), "UV": building.installer(), "HOME": str(Path.home())}
    env |= {"UV_SYSTEM_CERTS": "true", "UV_PYTHON_DOWNLOADS": "never", "UV_LINK_MODE": "hardlink"}
    env |= {"UV_NATIVE_TLS": "true"}  # its name in the image's version
    env |= {n: v for n, v in os.environ.items() if n.startswith(("UV_INDEX", "UV_DEFAULT", "SSL_"))}
    for word, rest in instructions(BUILT):
        if word == "ARG":
            name, _, value = rest.partition("=")
            env[name] = value.strip('"')
        elif word == "COPY" and rest == ". .":
            copied(build)
        elif word == "COPY":
            *files, _ = rest.split()
            for file in files:
                shutil.copy(ROOT / file, build)
        elif word == "RUN":
            try:
                run("/bin/sh", "-c", command_of(rest), cwd=build, env=env)
            except AssertionError as error:
                if "Failed to fetch" not in str(error):
                    raise
                pytest.skip(f"no index is reached: {str(error)[-300:]}")
            if list((build / "dist").glob("*.whl")):
                _share_compiled(disk, build)
    return disk


def _share_compiled(root: Path, build: Path) -> None:
    """Have nothing compiled that other tests have compiled, from when all is installed."""
    (packages,) = root.glob(PACKAGES.lstrip("/"))
    (wheel,) = (build / "dist").glob("*.whl")
    share_compiled(packages, wheel)
    take_compiled(Path(sysconfig.get_path("purelib")), packages)


def test_its_command_serves_and_ends_in_order(image: Path, redis_url: str, tmp_path: Path) -> None:
    """With its variables, secrets in files, and the module of an agent where packages are added."""
    env: dict[str, str] = {}
    for _, rest in (line for line in instructions(FINAL) if line[0] == "ENV"):
        env |= dict(word.split("=", 1) for word in shlex.split(rest))
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "REDIS_URL").write_text(f"{redis_url}\n")
    (secrets / "DATABASE_URL").write_text(f"sqlite:///{tmp_path / 'journal.db'}\n")
    bin_ = image / "opt" / "agents" / "bin"
    env |= {"PATH": f"{bin_}{os.pathsep}/usr/bin{os.pathsep}/bin", "AGENTS_MODULES": "hello"}
    env |= {"AGENTS_SECRETS_DIR": str(secrets), "PYTHONPATH": "", "AGENTS_HEALTH_PORT": "0"}
    # The image has all of its packages compiled, which takes half a minute: here the worker does it
    # for those that it imports and that the tests have not, and the command finds them.
    env |= {"PYTHONDONTWRITEBYTECODE": ""}
    (command,) = (json.loads(rest) for word, rest in instructions(FINAL) if word == "CMD")
    assert (image / "opt" / "agents" / "flowerconfig.py").read_text()
    program, *words = command
    argv = [str(bin_ / program), *words]
    srv = tmp_path / "srv"
    srv.mkdir()
    shutil.copy(ROOT / "examples" / "first" / "hello.py", srv)
    worker = WorkerProcess(unique_name(), argv, env=env, directory=tmp_path, cwd=srv)
    worker.start()
    try:
        worker.wait_ready()
        ask = ("-A", "celery_agents.service", "agents", "ask", "topic", "where is my money?")
        assert run(str(bin_ / "celery"), *ask, cwd=srv, env=env).strip() == "refund"
    finally:
        ended = worker.terminate()
    assert ended == 0, worker.logs()
    assert "Traceback" not in worker.logs()
