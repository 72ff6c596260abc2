"""Servers that end with the process that has started them, also where that is killed."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Sequence


def bound(command: Sequence[str]) -> list[str]:
    """The same command; on Linux it is interrupted when whoever starts it has gone.

    The kernel looks at the thread that started it: what another one starts, as a timer does, stays
    as it is.
    """
    program = shutil.which("setpriv")
    if program is None or threading.current_thread() is not threading.main_thread():
        return [*command]
    return [program, "--pdeathsig", "INT", "--", *command]
