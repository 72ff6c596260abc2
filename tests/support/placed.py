"""The wheel's code in the process of the tests, too, when they run against an installed wheel.

Its workers have it anyway. What a test itself calls, such as ``app.admission.breaker``, is then
that of ``celery_agents.service``, and ``celery_agents`` is the wheel's: tests of transport,
breakers or the pool prove what is installed, and say it in the words of the checkout.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

from deploy.wheel import HOME, PACKAGES

_CLIENT = HOME.partition(".")[0]
#: Of these only Flower's settings are in the wheel, which processes read.
_CHECKOUTS = {"deploy"}


class Placed(MetaPathFinder, Loader):
    """Finds the service's packages below :data:`deploy.wheel.HOME` of an installed wheel."""

    def __init__(self, packages: Path) -> None:
        """Know the folder of what is installed."""
        self._packages = packages
        self._own: dict[str, ModuleSpec | None] = {}

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == _CLIENT:
            return PathFinder.find_spec(fullname, [str(self._packages)])
        if fullname.partition(".")[0] in PACKAGES - _CHECKOUTS:
            return ModuleSpec(fullname, self)
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Import the module under its own name: there is one, by two names."""
        module = importlib.import_module(f"{HOME}.{spec.name}")
        self._own[spec.name] = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """It is loaded; what the second name has changed of it is put back."""
        assert module.__spec__ is not None
        module.__spec__ = self._own.pop(module.__spec__.name)


def place(folder: Path) -> None:
    """Take the wheel that ``tests/support/wheel.py`` has installed in a folder."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    sys.meta_path.insert(0, Placed(folder / "venv" / "lib" / version / "site-packages"))
