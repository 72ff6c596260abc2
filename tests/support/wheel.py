"""The wheel in an environment of its own: ``python -m tests.support.wheel FOLDER EXTRAS``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Mapping
from importlib.metadata import distributions
from pathlib import Path

from deploy.local.state import ROOT
from tests.support.service import installed

#: Stands for openai-agents, whose top-level package has this name.
OTHERS = 'class Agent:\n    OWNER = "another distribution"\n'


def run(*argv: str, cwd: Path = ROOT, env: Mapping[str, str] | None = None) -> str:
    """Run a program to its good end; what it printed."""
    done = subprocess.run(argv, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{argv}\n{done.stdout}\n{done.stderr}"
    return done.stdout


class Site:
    """An environment with the wheel, and what is started in it."""

    def __init__(self, folder: Path, extras: str = "worker") -> None:
        """Build the wheel and install it, in a folder that is emptied first."""
        shutil.rmtree(folder, ignore_errors=True)
        service = installed(folder)
        self.folder, self.bin = folder, service.python.parent
        python = str(service.python)
        venv.create(folder / "venv", with_pip=True)
        pip = (python, "-m", "pip", "--disable-pip-version-check", "--quiet")
        run(*pip, "wheel", "--no-deps", "-w", str(folder), str(ROOT))
        (wheel,) = folder.glob("*.whl")
        known = folder / "versions.txt"  # those that the other tests run with
        known.write_text("".join(f"{d.name}=={d.version}\n" for d in distributions()))
        run(*pip, "install", "-c", str(known), f"{wheel}[{extras}]")
        packages = Path(run(python, "-c", "import sysconfig as s; print(s.get_path('purelib'))"))
        packages = Path(str(packages).strip())
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
