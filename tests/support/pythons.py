"""Interpreters of other versions than the tests' own, where there are some."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

#: All that an environment needs of it, and its version.
_ASKED = "import ctypes, sqlite3, ssl, sys, venv; print('%d.%d' % sys.version_info[:2])"


def find(version: str) -> Path | None:
    """An interpreter of that version that runs: of PATH, of pyenv, or of uv's own."""
    for candidate in _candidates(version):
        asked = subprocess.run(
            [candidate, "-I", "-c", _ASKED], cwd="/", capture_output=True, text=True, check=False
        )
        if asked.stdout.strip() == version:  # a shim of pyenv's is there for versions that are not
            return candidate
    return None


def _candidates(version: str) -> Iterator[Path]:
    if found := shutil.which(f"python{version}"):
        yield Path(found)
    home = Path.home()
    pyenv = Path(os.environ.get("PYENV_ROOT") or home / ".pyenv")
    yield from sorted(pyenv.glob(f"versions/{version}.*/bin/python"), reverse=True)
    uv = home / ".local" / "share" / "uv" / "python"
    yield from sorted(uv.glob(f"cpython-{version}.*/bin/python3"), reverse=True)
