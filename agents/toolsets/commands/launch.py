"""Become another program, within limits, that ends when the process that started this one does.

Run as a script of its own: it knows nothing of the project, and so starts in a moment.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys

#: Of <linux/prctl.h>; what it asks for outlives exec.
_PR_SET_PDEATHSIG = 1
_FILES = 256


def main(parent: str, cpu_s: str, memory: str, file_size: str, *command: str) -> None:
    """Set the limits, ask for a SIGKILL at the parent's death, and become the command."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    limits = {
        resource.RLIMIT_CPU: int(cpu_s),
        resource.RLIMIT_AS: int(memory),
        resource.RLIMIT_FSIZE: int(file_size),
        resource.RLIMIT_NOFILE: _FILES,
        resource.RLIMIT_CORE: 0,
    }
    for kind, most in limits.items():
        _, hard = resource.getrlimit(kind)
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (least, least))
    if os.getppid() == int(parent):  # else it died before it could be asked for
        os.execv(command[0], command)  # noqa: S606 - a program of the configuration, no shell


if __name__ == "__main__":
    main(*sys.argv[1:])
