"""The wheel in an environment of its own: ``python -m tests.support.wheel FOLDER EXTRAS``."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Mapping, Sequence
from importlib.metadata import distributions
from pathlib import Path

from deploy.local.state import ROOT, private_directory
from deploy.wheel import PLACED
from tests.support.service import installed

#: Stands for openai-agents, whose top-level package has this name.
OTHERS = 'class Agent:\n    OWNER = "another distribution"\n'
#: openai-agents takes other versions of it than the tests have.
_FREE = frozenset({"websockets"})
#: What of the checkout the wheel is built from.
_SOURCES = ("celery_agents", *PLACED, "deploy/wheel.py", "hatch_build.py", "pyproject.toml")
_SOURCES += ("pytest_celery_agents.py", "README.md", "LICENSE", "CHANGELOG.md")
_WHEELS = Path(tempfile.gettempdir()) / f"celery-agents-wheels-{os.getuid()}"
_PACKAGES = "import sysconfig; print(sysconfig.get_path('purelib'))"


def run(*argv: str, cwd: Path = ROOT, env: Mapping[str, str] | None = None) -> str:
    """Run a program to its good end; what it printed."""
    done = subprocess.run(argv, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{argv}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _installer() -> str | None:
    """uv, whose cache makes an environment in a second; None where there is none."""
    beside = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return shutil.which("uv", path=beside)


class Venv:
    """A virtual environment: by uv; by pip where there is no uv, or its index cannot be reached."""

    def __init__(self, folder: Path, base: Path | None = None) -> None:
        """Make it, with nothing in it but pip; of the tests' own Python, or of another one."""
        self.python = str(folder / "bin" / "python")
        if base is None:
            venv.create(folder, with_pip=_installer() is None)
        else:
            without = ["--without-pip"] if _installer() else []
            run(str(base), "-m", "venv", *without, str(folder), cwd=Path("/"))

    def build(self, source: Path, target: Path) -> Path:
        """Build the wheel of a source tree."""
        uv = ("build", "--wheel", "--python", self.python, "--out-dir", str(target), str(source))
        self._run(uv, ("wheel", "--no-deps", "-w", str(target), str(source)))
        (wheel,) = target.glob("*.whl")
        return wheel

    def install(self, *what: str) -> None:
        """Install distributions, with what they depend on."""
        self._run(("pip", "install", "--python", self.python, *what), ("install", *what))
        packages = run(self.python, "-c", _PACKAGES, cwd=Path("/")).strip()
        take_compiled(Path(sysconfig.get_path("purelib")), Path(packages))

    def _run(self, for_uv: Sequence[str], for_pip: Sequence[str]) -> None:
        if uv := _installer():
            env = {"UV_SYSTEM_CERTS": "true", **os.environ}
            if not subprocess.run(
                [uv, "--quiet", *for_uv], cwd="/", env=env, capture_output=True, check=False
            ).returncode:
                return
            run(self.python, "-m", "ensurepip")
        pip = (self.python, "-m", "pip", "--disable-pip-version-check", "--quiet")
        run(*pip, *for_pip, cwd=Path("/"))


def take_compiled(ours: Path, theirs: Path) -> None:
    """Take what is compiled of files that both environments have, as uv links them: seconds of CPU.

    They are files of the tests' own Python; another one looks for others by their names.
    """
    tag = f"{sys.implementation.cache_tag}.pyc"
    for place, _, names in os.walk(theirs):
        folder, own = Path(place), ours / Path(place).relative_to(theirs)
        if not (own / "__pycache__").is_dir():
            continue
        for name in (n for n in names if n.endswith(".py")):
            compiled = Path("__pycache__", f"{name.removesuffix('py')}{tag}")
            wanted = (own / compiled).exists() and not (folder / compiled).exists()
            if wanted and (folder / name).samefile(own / name):
                (folder / "__pycache__").mkdir(exist_ok=True)
                (folder / compiled).hardlink_to(own / compiled)


def built(by: Venv) -> Path:
    """The wheel of this checkout, which is built once for all tests until a file of it changes."""
    key = hashlib.sha256()
    for path in (p for name in _SOURCES for p in [ROOT / name, *sorted((ROOT / name).rglob("*"))]):
        if path.is_file() and path.suffix != ".pyc":
            about = path.stat()
            key.update(f"{path} {about.st_mtime_ns} {about.st_size}\n".encode())
    private_directory(_WHEELS)
    with (_WHEELS / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # whoever comes second waits, and has it then
        folder = _WHEELS / key.hexdigest()
        if not (found := list(folder.glob("*.whl"))):
            unfinished = folder.with_suffix(".new")
            shutil.rmtree(unfinished, ignore_errors=True)
            by.build(ROOT, unfinished)
            unfinished.rename(folder)
            found = list(folder.glob("*.whl"))
            _forget_all_but(8)
    (wheel,) = found
    return wheel


def _forget_all_but(newest: int) -> None:
    folders = [path for path in _WHEELS.iterdir() if path.is_dir()]
    folders.sort(key=lambda path: path.stat().st_mtime)
    for path in folders[:-newest]:
        shutil.rmtree(path, ignore_errors=True)


def known_versions(folder: Path) -> Path:
    """Write a file of constraints: the versions that the other tests run with."""
    known = folder / "versions.txt"
    tested = [d for d in distributions() if d.name not in _FREE]
    known.write_text("".join(f"{d.name}=={d.version}\n" for d in tested))
    return known


class Site:
    """An environment with the wheel, and what is started in it."""

    def __init__(self, folder: Path, extras: str = "worker", *others: str) -> None:
        """Install the wheel with others, in a folder that is emptied first."""
        shutil.rmtree(folder, ignore_errors=True)
        service = installed(folder)
        self.folder, self.bin = folder, service.python.parent
        made = Venv(folder / "venv")
        made.install("-c", str(known_versions(folder)), f"{built(made)}[{extras}]", *others)
        packages = Path(run(made.python, "-c", _PACKAGES).strip())
        if "openai-agents" not in extras.split(","):
            (packages / "agents").mkdir()  # fails if the wheel has one
            (packages / "agents" / "__init__.py").write_text(OTHERS)
        # Of the checkout its processes find the modules of the tests, and nothing else.
        service.folder.mkdir()
        (service.folder / "tests").symlink_to(ROOT / "tests")

    def environment(self, extra: Mapping[str, str]) -> dict[str, str]:
        """Without the checkout."""
        path = os.pathsep.join([str(self.bin), os.environ.get("PATH", "")])
        return {"PATH": path, "PYTHONPATH": "", "PYTHONUNBUFFERED": "1", **extra}

    def run(self, *argv: str, cwd: Path, env: Mapping[str, str]) -> str:
        """Run a program of the environment to its good end; what it printed."""
        return run(str(self.bin / argv[0]), *argv[1:], cwd=cwd, env=self.environment(env))


if __name__ == "__main__":
    Site(Path(sys.argv[1]), sys.argv[2])
