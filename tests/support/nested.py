"""Tests within a test: in a fork of its process, which has imported most of what they need."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Mapping
from tempfile import TemporaryFile
from typing import IO, NoReturn

import pytest


def run_tests(*argv: str, env: Mapping[str, str]) -> tuple[int, str]:
    """Run tests with more variables; pytest's exit code, and what was written."""
    with TemporaryFile() as output:
        if not (pid := os.fork()):
            _run(argv, env, output)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        output.seek(0)
        return code, output.read().decode(errors="replace")


def _run(argv: tuple[str, ...], env: Mapping[str, str], output: IO[bytes]) -> NoReturn:
    code = 1
    try:
        for number in (1, 2):
            os.dup2(output.fileno(), number)
        sys.stdout = sys.stderr = os.fdopen(1, "w", closefd=False)
        os.environ.update(env)
        code = int(pytest.main(["-q", "-p", "no:cacheprovider", *argv]))
    except BaseException:  # noqa: BLE001 # the tests of the process that forked are not its own
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)
