"""The process that forks others, from its own side; see tests/support/forks.py.

It runs in the environment of the checkout, or of an installed wheel: it imports nothing else of the
tests and nothing of the checkout but what it is told to, or to learn.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import json
import os
import platform
import runpy
import signal
import socket
import sys
import threading
from collections import Counter
from contextlib import suppress
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar, cast
from unittest.mock import patch

from sqlalchemy.orm import configure_mappers

from tests.support.readable import readable

#: What a program has imported by the time that it is ready.
PRELOADED = {
    "celery": (
        "celery.bin.celery",
        "celery.app.control",
        "celery.app.events",
        "celery.app.log",
        "celery.apps.worker",
        "celery.backends.redis",
        "celery.concurrency.prefork",
        "celery.fixups.django",
        "celery.loaders.app",
        "celery.worker.autoscale",
        "celery.worker.components",
        "celery.worker.consumer",
        "celery.worker.consumer.delayed_delivery",
        "celery.worker.strategy",
        "kombu.transport.redis",
        "logging.handlers",
        "sqlalchemy.dialects.postgresql.psycopg2",
        "sqlalchemy.dialects.sqlite",
        "app.cli.commands",
        "app.factory",
        "app.execution.task",
        "app.messaging.consumer",
        "app.messaging.transport",
        "app.pool.pool",
        "beat_schedules",
        "tasks",
    ),
    "api": (
        "api.application",
        "uvicorn.lifespan.on",
        "uvicorn.loops.auto",
        "uvicorn.protocols.http.auto",
    ),
    "api.mcp": ("api.mcp.serving", "api.mcp.server", "mcp.server.stdio"),
    "tests.chaos.people": ("celery_agents",),
    "tests.chaos.racer": ("app.journal", "agents.patterns"),
    "tests.chaos.subscriber": ("celery_agents",),
    "tests.support.kombu_consumer": ("app.messaging.transport",),
}
#: What a worker imports when it first asks models.
SDKS = (
    "httpx2",
    "openai.resources.chat.completions",
    "anthropic.resources.messages",
    "google.genai",
    "genai_prices",
)
#: Packages that stand below another one in an installed wheel.
_PLACED = frozenset({"agents", "api", "app", "beat_schedules", "tasks"})
_MESSAGE_BYTES = 128 * 1024
#: The bytes of a large page, and what madvise is told: MADV_COLLAPSE.
_LARGE, _COLLAPSE = 2 * 1024 * 1024, 25
#: Of <linux/prctl.h>.
_PR_SET_PDEATHSIG = 1


class _Orders:
    """Forks a child for each order, and tells how each has ended."""

    def __init__(self, channel: socket.socket, modules: _Modules) -> None:
        self._modules = modules
        self._telling: dict[int, int] = {}  # the pipe of each child
        self._listen(channel)

    def _listen(self, channel: socket.socket) -> None:
        self._channel = channel
        self._woken, self._waking = socket.socketpair()
        for end in (self._woken, self._waking):
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._waking.fileno(), warn_on_full_buffer=False)

    def serve(self) -> tuple[str, list[str]]:
        """Serve until the asking process has gone, which ends this one.

        Returns:
            In a child: its module and its arguments.
        """
        while True:
            ready = readable([self._channel, self._woken])
            if self._woken in ready:
                self._woken.recv(4096)
                self._reap()
            if self._channel not in ready:
                continue
            order, files, _, _ = socket.recv_fds(self._channel, _MESSAGE_BYTES, 8)
            if not order:
                raise SystemExit
            wanted = json.loads(order)
            if "learnt" in wanted:
                self._modules.learn(wanted["learnt"])
                self._channel.send(b"known")
                continue
            if "module" not in wanted:
                self._branch(files[0], wanted["more"])
                continue
            if wanted["module"] != "celery":
                self._modules.preload(wanted["module"])
            if pid := os.fork():
                self._telling[pid] = files[0]
                for file in files[1:]:
                    os.close(file)
            else:
                return self._become(wanted, files)

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    return
                if telling := self._telling.pop(pid, 0):  # none tells of a branch
                    os.write(telling, b"%d" % os.waitstatus_to_exitcode(status))
                    os.close(telling)

    def _branch(self, channel: int, more: list[str]) -> None:
        """Have another process like this one serve a channel, with what is imported, and more."""
        if not os.fork():
            self._let_go()
            self._telling.clear()
            self._listen(socket.socket(fileno=channel))
            if more:
                self._modules.add(*more)
        else:
            os.close(channel)

    def _let_go(self) -> None:
        """Close what is this process's own, in a fork of it."""
        for end in (self._channel, self._woken, self._waking):
            end.close()
        for file in self._telling.values():
            os.close(file)

    def _become(self, order: dict[str, Any], files: list[int]) -> tuple[str, list[str]]:
        """Be a process that was started so."""
        # The one that forks ends with whom it serves, who ends what is started, unless killed.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        telling, output, errors, *keep = files
        if order["reads"]:
            os.dup2(keep[0], 0)
            os.close(keep.pop(0))
        os.dup2(output, 1)
        os.dup2(errors, 2)
        for file in keep:
            os.set_inheritable(file, True)
        os.environ.clear()
        os.environ.update(order["env"])
        if "cwd" in order:
            _stand_in(order["cwd"])
        self._channel.send(b"%d" % os.getpid())
        self._let_go()
        for file in (telling, output, errors):
            os.close(file)
        return order["module"], order["argv"]


def know_redis() -> None:
    """Read redis-py's version once: each of its connections looks for it, in 3 ms."""
    from redis import utils

    utils.get_lib_version = partial(str, metadata.version("redis"))


class _Entries(metadata.EntryPoints):
    """The entry points of all that is installed: of a group only its own are looked through."""

    __slots__ = ()
    groups_of: ClassVar[dict[str, Any]] = {}

    def select(self, group: str = "", **more: Any) -> Any:
        """As that of what they are made of."""
        if group:
            return self.groups_of.get(group, metadata.EntryPoints()).select(**more)
        return super().select(**more)


def _read_once() -> None:
    """Read what is installed here, and not in each fork: it is a third of a worker's start."""
    entries: Any = metadata.entry_points()
    _Entries.groups_of = {group: entries.select(group=group) for group in entries.groups}
    every = _Entries(point for group in _Entries.groups_of.values() for point in group)
    metadata.entry_points = cast("Any", lambda **about: every.select(**about) if about else every)
    platform.platform()  # which asks a program; Celery's worker shows it
    know_redis()
    from celery.app import base  # which takes entry_points as it is imported

    base.head_from_fun = cache(base.head_from_fun)


def _know_tasks() -> None:
    """Read the signatures of all tasks that are imported: each app does, for each of its tasks."""
    from celery.app import base

    base.Celery(set_as_current=False, loader="app").finalize()  # whatever the environment names


def _in_large_pages() -> None:
    """Have the kernel keep what is in memory in pages of 2 MiB, where it can.

    A fork copies the table of its parent's pages, and frees it: with pages of 4 KiB that takes four
    fifths of the CPU of a fork that ends at once, 16 of 20 ms.
    """
    advise = ctypes.CDLL(None).madvise
    advise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for line in Path("/proc/self/maps").read_text().splitlines():
        place, rights, _, _, file, *_ = line.split()
        if file == "0" and rights.startswith("rw"):
            begin, end = (int(number, 16) for number in place.split("-"))
            begin = -(-begin // _LARGE) * _LARGE
            if (size := (end - begin) // _LARGE * _LARGE) > 0:
                advise(begin, size, _COLLAPSE)  # older kernels refuse, and all is as it was


def _stand_in(folder: str) -> None:
    """Look for modules where a process does that was started in this folder."""
    own = {str(Path.cwd()), ""}
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:] = [folder, *filter(None, given), *(p for p in sys.path if p not in own)]
    os.chdir(folder)


class _Modules:
    """Imports of this process, each made once for all forks.

    Args:
        home: the package below which an installed wheel has the service's; "" in the checkout.
    """

    def __init__(self, home: str) -> None:
        self._home = home

    @cache  # noqa: B019 - there is one in a process
    def preload(self, module: str, *more: str) -> None:
        """Import what a program imports, and more."""
        for name in PRELOADED[module]:
            self.found(name)
        configure_mappers()  # of classes that are imported, as their first query would
        _know_tasks()
        with patch.dict(os.environ, clear=True):
            self.found("app.settings").Settings()
        self.add(*more)

    def add(self, *more: str) -> None:
        """Import modules, and keep what is imported for forks."""
        for name in more:
            importlib.import_module(name)
        Counter([""])  # click's: that a list is no mapping is known when all mappings were asked
        gc.collect()
        gc.freeze()
        _in_large_pages()

    def learn(self, url: str) -> None:
        """Know the statements of journals of a kind of database: on this one, all that is done is.

        Each fork would put together those that it needs, which is a fifth of its start.
        """
        importlib.import_module("tests.unit.app.journal.working").learn(url)
        self.add()

    def found(self, name: str) -> Any:
        """Import a module of the service, or another one."""
        placed = self._home and name.partition(".")[0] in _PLACED
        return importlib.import_module(f"{self._home}.{name}" if placed else name)


def _run(module: str) -> None:
    """Run a program, and end as a fork of multiprocessing does: by all that is to be called then.

    To take the interpreter apart, too, writes to all that forks share, which copies it: 0.16 s of
    CPU for each, where a command takes 0.04.
    """
    code: Any = None
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code
    if not isinstance(code, int | None):
        print(code, file=sys.stderr)
        code = 1
    cast("Any", threading)._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


def _main(channel: int, home: str, *more: str) -> None:
    _read_once()
    modules = _Modules(home)
    modules.preload("celery", "alembic.command", *more)  # the one that most stacks' journals need
    orders = _Orders(socket.socket(fileno=channel), modules)
    module, sys.argv[1:] = orders.serve()
    _run(module)


if __name__ == "__main__":
    _main(int(sys.argv[1]), *sys.argv[2:])
