"""Programs that judge files of ``deploy/``; each is used where it is on the path.

Those of PyPI are of the development group; they have no modules that a test could import, so it is
the path that counts. ``apt-get install kubernetes-client`` or Kubernetes itself gives kubectl, and
systemd its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import NoReturn

import pytest


def needs(program: str) -> pytest.MarkDecorator:
    """Skip where a program is not there."""
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not here")


def missing(reason: str) -> NoReturn:
    """Skip what cannot be tried here, with the reason; where CI runs, fail."""
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def found_by(*argv: str) -> str:
    """All that a program says of what it was given.

    Raises:
        AssertionError: it refuses it.
    """
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    told = done.stdout + done.stderr
    assert done.returncode == 0, told
    return told
