"""The wheel in an environment of its own: ``python -m tests.support.wheel FOLDER EXTRAS``."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import distributions
from pathlib import Path

from deploy.local.state import ROOT
from deploy.release import building
from deploy.wheel import PLACED
from tests.support.kept import keeping, kept, share_compiled, state_of
from tests.support.service import installed

#: Stands for openai-agents, whose top-level package has this name.
OTHERS = 'class Agent:\n    OWNER = "another distribution"\n'
#: openai-agents takes other versions of it than the tests have.
_FREE = frozenset({"websockets"})
#: What of the checkout the wheel is built from.
_SOURCES = ("celery_agents", *PLACED, "deploy/wheel.py", "hatch_build.py", "pyproject.toml")
_SOURCES += ("pytest_celery_agents.py", "README.md", "LICENSE", "CHANGELOG.md")
#: What is between the parts of a text that are written one after another.
_JOINED = re.compile(r"""["']\s*[rbfu]*["']""")


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
        (self.packages,) = folder.glob("lib/python*/site-packages")

    def build(self, source: Path, target: Path) -> Path:
        """Build the wheel of a source tree."""
        uv = ("build", "--wheel", "--python", self.python, "--out-dir", str(target), str(source))
        self._run(uv, ("wheel", "--no-deps", "-w", str(target), str(source)))
        (wheel,) = target.glob("*.whl")
        return wheel

    def install(self, wheel: Path, extras: str = "", *others: str, lasting: bool = False) -> None:
        """Install a wheel of ours and others, with what they depend on.

        What is compiled of them is the run's, unless the environment is ``lasting``.
        """
        what = (f"{wheel}[{extras}]" if extras else str(wheel), *others)
        self._run(("pip", "install", "--python", self.python, *what), ("install", *what))
        if not lasting:
            share_compiled(self.packages, wheel)
        take_compiled(Path(sysconfig.get_path("purelib")), self.packages)

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
                with suppress(FileExistsError):  # another environment of the run has it meanwhile
                    (folder / compiled).hardlink_to(own / compiled)


def built(by: Venv) -> Path:
    """The wheel of this checkout, which is built once for all tests until a file of it changes."""
    files = [p for name in _SOURCES for p in [ROOT / name, *sorted((ROOT / name).rglob("*"))]]
    key = state_of(p for p in files if p.is_file() and p.suffix != ".pyc")
    (wheel,) = kept("wheels", key, lambda folder: by.build(ROOT, folder)).glob("*.whl")
    return wheel


def published() -> Path:
    """A folder with sdist and wheel as ./run release builds them, once for all tests.

    Raises:
        building.BuildError: they cannot be built here.
    """
    names, time = building.tracked(ROOT), building.epoch(ROOT)

    def make(folder: Path) -> None:
        with building.build(ROOT, names, time, building.UNLIKE[0]) as made:
            shutil.copytree(made, folder, dirs_exist_ok=True)

    return kept("releases", f"{time}\n{state_of(ROOT / name for name in names)}", make)


def modules_having(folder: Path, having: re.Pattern[str]) -> Iterator[tuple[Path, ast.Module]]:
    """Give the modules in whose source this is found; lines and texts that go on are one."""
    for file in folder.rglob("*.py"):
        text = file.read_text("utf-8")
        if having.search(_JOINED.sub("", text.replace("\\\n", " "))):
            yield file, ast.parse(text)


def known_versions(folder: Path) -> Path:
    """Write a file of constraints: the versions that the other tests run with."""
    known = folder / "versions.txt"
    tested = [d for d in distributions() if d.name not in _FREE]
    known.write_text("".join(f"{d.name}=={d.version}\n" for d in tested))
    return known


class Site:
    """An environment with the wheel, and what is started in it."""

    def __init__(
        self, folder: Path, extras: str = "worker", *others: str, lasting: bool = False
    ) -> None:
        """Install the wheel with others, in a folder that is emptied first."""
        shutil.rmtree(folder, ignore_errors=True)
        service = installed(folder)
        self.folder, self.bin = folder, service.python.parent
        made = Venv(folder / "venv")
        known = ("-c", str(known_versions(folder)))
        made.install(built(made), extras, *known, *others, lasting=lasting)
        #: Where its modules are.
        self.packages = made.packages
        if "openai-agents" not in extras.split(","):
            (self.packages / "agents").mkdir()  # fails if the wheel has one
            (self.packages / "agents" / "__init__.py").write_text(OTHERS)
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
    with keeping():
        Site(Path(sys.argv[1]), sys.argv[2], lasting=True)
