"""Become another program that ends when the process that started this one does (Linux).

Run as a script of its own: it knows nothing of the project, and so starts in a moment.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

#: Of <linux/prctl.h>; what it asks for outlives exec.
_PR_SET_PDEATHSIG = 1


def main(parent: str, *command: str) -> None:
    """Ask for a SIGTERM at the parent's death, and become the command."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() == int(parent):  # else it died before it could be asked for
        os.execvp(command[0], command)  # noqa: S606 - a command of the configuration, no shell


if __name__ == "__main__":
    main(*sys.argv[1:])
