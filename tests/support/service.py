"""The service whose processes the tests start: this checkout, or a wheel of it that is installed.

The environment variable :data:`INSTALLED` names the folder of the latter, as
``tests/support/wheel.py`` makes it. The tests themselves are the checkout's either way.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.local import procfile
from deploy.local.state import ROOT
from tests.support import INSTALLED

#: Characters by which a shell does more than to split words.
_SHELLS = "$|&;<>()`\"'\\*?#~"


@dataclass(frozen=True)
class Service:
    """How its programs are started."""

    #: What follows ``celery -A``.
    app: str
    #: The interpreter of its environment; Celery's command stands beside it.
    python: Path
    #: Where its processes are started, and where they find the modules of the tests. Python looks
    #: there before it looks at what is installed.
    folder: Path

    def environment(self, extra: Mapping[str, str]) -> dict[str, str]:
        """The environment of one of its processes: its own programs first."""
        path = os.pathsep.join([str(self.python.parent), os.environ.get("PATH", "")])
        ours = {"PATH": path, "PYTHONPATH": str(self.folder), "PYTHONUNBUFFERED": "1"}
        return {**os.environ, **ours, **extra}

    def qualified(self, path: str) -> str:
        """The name of a module of the service in one of its processes."""
        return path if self is CHECKOUT else f"{self.app}.{path}"

    def celery(self, *argv: str) -> list[str]:
        """A command of Celery in its environment."""
        return [str(self.python), "-m", "celery", *argv]

    def line(self, name: str, env: Mapping[str, str] | None = None) -> list[str]:
        """A line of the Procfile, without a shell where that would do no more.

        In words of the wheel, as docs/installing.md has them.

        Args:
            name: the line's.
            env: variables whose values stand in it; the shell fills in all others.
        """
        line = procfile.read(ROOT / "Procfile")[name]
        for variable, value in (env or {}).items():
            line = re.sub(rf"\$\{{{variable}(:-[^}}]*)?\}}", shlex.quote(value), line)
        if self is not CHECKOUT:
            conf = f'"$(python -m {self.app}.deploy.flowerconfig)"'
            line = line.replace("-A app", f"-A {self.app}").replace("-m api", f"-m {self.app}.api")
            line = line.replace("deploy/flowerconfig.py", conf)
        program, *words = shlex.split(line)
        plain = program == "celery" and not set(line) & set(_SHELLS)
        return self.celery(*words) if plain else procfile.argv(line)


CHECKOUT = Service("app", Path(sys.executable), ROOT)


def installed(folder: Path) -> Service:
    """The wheel in the environment that ``tests/support/wheel.py`` made in a folder."""
    return Service("celery_agents.service", folder / "venv" / "bin" / "python", folder / "project")


SERVICE = installed(Path(os.environ[INSTALLED])) if INSTALLED in os.environ else CHECKOUT
#: Tests say ``celery -A`` with this.
APP = SERVICE.app
