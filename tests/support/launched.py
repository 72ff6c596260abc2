"""The launcher in the process of a test, with services that are forks: four programs fewer."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Sequence
from typing import Any

import pytest

from deploy.local import procfile, supervisor
from tests.support import forks
from tests.support.forks import Fork

#: A variable of the Procfile's, and what stands for it where it is not set.
_VARIABLE = re.compile(r"\$\{\w+:-([^}]*)\}")


class ForkedService(Fork):
    """A service whose lines the launcher hears."""

    def _started(self, argv: Sequence[str], **how: Any) -> Any:
        assert forks.nursery is not None
        reading, writing = os.pipe()
        try:
            started = forks.nursery.start(argv, how["env"], writing, writing, how["lock"])
        finally:
            os.close(writing)
        told: Any = started
        told.stdout = os.fdopen(reading, "rb")
        return told


def fork_services(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have launchers of this process start their services so, on servers of their own."""
    monkeypatch.setattr(supervisor, "Child", ForkedService)
    monkeypatch.setattr(procfile, "argv", _words)
    for name in ("REDIS_URL", "DATABASE_URL", "PYTHONPATH"):
        monkeypatch.delenv(name, raising=False)


def _words(command: str) -> list[str]:
    program, *words = shlex.split(_VARIABLE.sub(r"\1", command))
    return [sys.executable, *(["-m", program] if program == "celery" else []), *words]
