"""Programs and libraries of Node, installed once for a run of the tests."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.kept import kept


class _NotInstalledError(Exception):
    """npm has not done it; with its words."""


def installed_by_npm(*words: str, files: Sequence[Path] = ()) -> Path:
    """The folder in which npm has installed what these words and files name.

    A machine without Node, or without a way to its registry, skips the test.
    """
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("there is no Node on this machine: apt-get install nodejs npm")

    def make(folder: Path) -> None:
        for file in files:
            shutil.copy(file, folder)
        command = ["npm", *words, "--no-audit", "--no-fund"]
        done = subprocess.run(
            command, check=False, cwd=folder, capture_output=True, text=True, timeout=240
        )
        if done.returncode:
            raise _NotInstalledError(done.stderr[-200:])

    try:
        return kept("node", "\n".join([*words, *(file.read_text() for file in files)]), make)
    except _NotInstalledError as error:
        pytest.skip(f"npm gets none of it: {error}")
