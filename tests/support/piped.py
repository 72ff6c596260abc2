"""A program of ours that another one starts on pipes, as a fork that gets these pipes."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.forks import Process, nursery_of
from tests.support.readable import HasFileno, readable

#: Started instead: it has imported nothing, gives its files away, and ends as the fork does.
_RELAY = """
import os, socket, sys
door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
door.connect(sys.argv[1])
socket.send_fds(door, [b"files"], [0, 1, 2])
os.close(0)
os.close(1)
os._exit(int(door.recv(16) or 255) & 255)
"""


@contextmanager
def piped(argv: Sequence[str], env: Mapping[str, str], cwd: Path) -> Iterator[Sequence[str]]:
    """Give a command that does in the block what ``argv`` does; by a fork, where that is the same.

    Its start takes seconds of CPU, and a fork hundredths.
    """
    by = nursery_of(argv, env, cwd)
    if by is None:
        yield argv
        return

    def start(files: Sequence[int]) -> Process:
        given, output, errors = files
        return by.start(argv, env, output, errors, given=given)

    with TemporaryDirectory() as folder:
        place = f"{folder}/door"
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door:
            door.bind(place)
            door.listen()
            threading.Thread(target=_serve, args=(door.dup(), start), daemon=True).start()
            yield [sys.executable, "-I", "-S", "-c", _RELAY, place]
            door.shutdown(socket.SHUT_RDWR)  # where nobody came, the thread waits no longer


def _serve(door: socket.socket, start: Callable[[Sequence[int]], Process]) -> None:
    """Start the program for the one that comes, and end it with that one."""
    try:
        with door:
            relay, _ = door.accept()
    except OSError:
        return
    with relay:
        _, files, _, _ = socket.recv_fds(relay, 16, 3)
        process = start(files)
        for file in files:
            os.close(file)
        if relay in readable(list[HasFileno]((relay, process))):
            process.send_signal(signal.SIGKILL)
        code = process.wait()
        with suppress(OSError):
            relay.send(b"%d" % code)
