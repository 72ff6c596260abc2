"""Environments of the contestants, made from PyPI with pinned versions when first needed."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from deploy.local.state import STATE

VENVS = STATE / "bench" / "venvs"
_LIMIT_S = 600


def python_of(name: str, requires: Sequence[str]) -> Path:
    """The Python that has these packages: the project's own when none are named.

    Raises:
        RuntimeError: it could not be made, with the reason.
    """
    if not requires:
        return Path(sys.executable)
    pins = "\n".join([sys.version, *requires])
    directory = VENVS / f"{name}-{hashlib.sha256(pins.encode()).hexdigest()[:10]}"
    python = directory / "bin" / "python"
    if not (directory / "complete").exists():
        print(f"Making the environment of {name} ...", file=sys.stderr)
        shutil.rmtree(directory, ignore_errors=True)
        _make(directory, python, requires)
        (directory / "complete").touch()
    return python


def _make(directory: Path, python: Path, requires: Sequence[str]) -> None:
    """With uv where there is one and the index is in its reach, else with pip, as ./run does."""
    uv = shutil.which("uv")
    if uv is not None:
        try:
            _run([uv, "venv", "--quiet", "--python", sys.executable, str(directory)])
            _run([uv, "pip", "install", "--quiet", "--python", str(python), *requires])
        except RuntimeError as error:
            print(f"uv could not make it ({error}); trying pip", file=sys.stderr)
            shutil.rmtree(directory, ignore_errors=True)
        else:
            return
    _run([sys.executable, "-m", "venv", str(directory)])
    _run([str(python), "-m", "pip", "install", "--quiet", *requires])


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(
            command,
            env={"UV_SYSTEM_CERTS": "true", **os.environ},  # a company's proxy is known there
            capture_output=True,
            text=True,
            check=False,
            timeout=_LIMIT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RuntimeError(str(error)) from error
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise RuntimeError(lines[-1] if lines else f"{command[0]} failed")
