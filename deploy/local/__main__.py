"""The command line behind ``./run``: ``up``, ``demo`` and ``reap``."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import NoReturn

from celery_agents.errors import AgentsError, redact
from deploy.local import procfile
from deploy.local.output import prefixed
from deploy.local.stack import FLOWER_USER, Stack, fresh_directory, local_stack, reap
from deploy.local.state import ROOT, STATE

_IN_USE = 3  # `./run clean` knows it
_INTERRUPTED = 130  # what a shell says of a command that Ctrl-C ended


def up() -> int:
    """Run everything until Ctrl-C; what dies comes back."""
    names = [name for name in procfile.read(ROOT / "Procfile") if name != "release"]
    width = max(map(len, names))
    report = prefixed("run", len(names), width=width)
    report("starting ...")
    with local_stack(
        names,
        output=lambda name: prefixed(name, names.index(name), width=width),
        report=report,
        grace_s=60.0,
    ) as stack:
        for line in describe(stack):
            report(line)
        with suppress(KeyboardInterrupt):
            threading.Event().wait()
        report("stopping; once more Ctrl-C ends everything at once")
    return 0


def describe(stack: Stack) -> list[str]:
    """Where things are, without a password."""
    lines = [
        f"broker   {redact(stack.redis_url)}",
        f"journal  {redact(stack.database_url)}",
        f"clients  . '{stack.directory / 'env'}'  sets both URLs, passwords included",
    ]
    if "flower" in stack.services:
        login = f"user {FLOWER_USER}, password in {stack.directory / 'flower.password'}"
        if os.environ.get("FLOWER_BASIC_AUTH"):
            login = "login as FLOWER_BASIC_AUTH says"
        lines.append(f"flower   http://127.0.0.1:{stack.environ['FLOWER_PORT']}  ({login})")
    return [*lines, "Ctrl-C stops it all"]


def demo(argv: Sequence[str]) -> int:
    """Run the demo on a stack of its own; the stack's files are kept only when it fails."""
    from examples.triage import demo as triage

    with (
        _exported({"AGENTS_CONFIG": str(triage.agents_config(argv))}),
        fresh_directory() as directory,
        local_stack(directory=directory, grace_s=10.0) as stack,
    ):
        with _exported({name: stack.environ[name] for name in ("REDIS_URL", "DATABASE_URL")}):
            code = triage.main(argv)
        if code:
            print(f"The worker's last lines:\n{stack.last_lines('worker')}", file=sys.stderr)
            raise SystemExit(code)  # an error to fresh_directory, which keeps the files then
    return 0


def clear() -> int:
    """End what crashed launchers left running from the state directory; refuse a live one."""
    for directory in (STATE, *(STATE / "demo").glob("*/")):
        if not reap(directory):
            print(f"run: {directory} is in use; stop what runs there first.", file=sys.stderr)
            return _IN_USE
    return 0


@contextmanager
def _exported(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def main(argv: Sequence[str]) -> int:
    """Run a command; its exit code. What goes wrong is said in plain words, without a password."""
    _end_like_ctrl_c()
    command, *rest = argv or [""]
    try:
        if command == "up" and not rest:
            return up()
        if command == "demo":
            return demo(rest)
        if command == "reap" and not rest:
            return clear()
    except AgentsError as error:
        print(f"run: {redact(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("run: interrupted", file=sys.stderr)
        return _INTERRUPTED
    print("usage: python -m deploy.local up | demo [ARGUMENTS] | reap", file=sys.stderr)
    return 2


def _end_like_ctrl_c() -> None:
    """Let SIGTERM and a closed terminal stop things in order too, where they are not ignored."""

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN or number == signal.SIGINT:
            signal.signal(number, interrupt)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
