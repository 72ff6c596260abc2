"""The command line behind ``./run``: ``up``, ``demo``, ``example``, ``ask`` and ``reap``."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from celery_agents.errors import AgentsError, redact
from deploy.local import first as first_agent
from deploy.local import procfile
from deploy.local.output import say
from deploy.local.stack import FLOWER_USER, Stack, fresh_directory, local_stack, reap
from deploy.local.state import ROOT, STATE, exported

_IN_USE = 3  # `./run clean` knows it
_USAGE = (
    "usage: ./run up | demo [--json] [--models] [FILE] | example [--json] [--stay] "
    "| ask FILE AGENT INPUT"
)
_KEY = "celery -A app agents keys create NAME --role user makes a key"
_INTERRUPTED = 130  # what a shell says of a command that Ctrl-C ended


def up() -> int:
    """Run everything until Ctrl-C; what dies comes back, and nothing else is told meanwhile."""
    names = [name for name in procfile.read(ROOT / "Procfile") if name != "release"]
    say("Starting; Ctrl-C stops it all.")
    with local_stack(names, report=say, grace_s=60.0) as stack:
        for line in describe(stack):
            say(line)
        with suppress(KeyboardInterrupt):
            threading.Event().wait()
        say("Stopping; once more Ctrl-C ends everything at once.")
    return 0


def describe(stack: Stack) -> list[str]:
    """Where things are, in seven lines and without a password."""
    login = f"{FLOWER_USER}, password in {_shown(stack.directory / 'flower.password')}"
    if os.environ.get("FLOWER_BASIC_AUTH"):
        login = "login as FLOWER_BASIC_AUTH says"
    files = ", ".join(stack.log(name).name for name in stack.services)
    activate = Path(sys.prefix) / "bin" / "activate"
    api = f"http://127.0.0.1:{stack.environ['AGENTS_API_PORT']}"
    return [
        f"page     {api}/ui  ({_KEY})",
        f"broker   {redact(stack.redis_url)}",
        f"journal  {redact(stack.database_url)}",
        f"api      {api}",
        f"flower   http://127.0.0.1:{stack.environ['FLOWER_PORT']}  ({login})",
        f"logs     {_shown(stack.log('worker').parent)}  ({files})",
        f"clients  . {_shown(activate)}; . {_shown(stack.directory / 'env')}",
    ]


def _shown(path: Path) -> str:
    """A path for the shell of whoever started this: short where they stand in the checkout."""
    if Path.cwd() == ROOT and path.is_relative_to(ROOT):
        path = path.relative_to(ROOT)
    return shlex.quote(str(path))


def demo(argv: Sequence[str]) -> int:
    """Run the demo on a stack of its own; the stack's files are kept only when it fails."""
    from examples.triage import demo as triage

    with (
        exported({"AGENTS_CONFIG": str(triage.agents_config(argv))}),
        fresh_directory() as directory,
        local_stack(directory=directory, grace_s=10.0) as stack,
    ):
        with exported({name: stack.environ[name] for name in ("REDIS_URL", "DATABASE_URL")}):
            code = triage.main(argv)
        if code:
            print(f"The worker's last lines:\n{stack.last_lines('worker')}", file=sys.stderr)
            raise SystemExit(code)  # an error to fresh_directory, which keeps the files then
    return 0


def example(argv: Sequence[str]) -> int:
    """Run the fraud desk on a stack of its own."""
    from examples.fraud_desk import show

    return show.main(argv)


def first(words: Sequence[str]) -> int:
    """Ask an agent of a file on a stack of its own; the stack's files are kept when it fails."""
    with (
        exported(first_agent.environment(Path(words[0]))),
        fresh_directory() as directory,
        local_stack(directory=directory, grace_s=10.0) as stack,
    ):
        if first_agent.ask(stack, words):
            raise SystemExit(1)  # an error to fresh_directory, which keeps the files then
    return 0


def clear() -> int:
    """End what crashed launchers left running from the state directory; refuse a live one."""
    for directory in (STATE, *(STATE / "demo").glob("*/")):
        if not reap(directory):
            print(f"run: {directory} is in use; stop what runs there first.", file=sys.stderr)
            return _IN_USE
    return 0


def main(argv: Sequence[str]) -> int:
    """Run a command; its exit code. What goes wrong is said in plain words, without a password."""
    _end_like_ctrl_c()
    command, *rest = argv or [""]
    try:
        return _run(command, rest)
    except AgentsError as error:
        print(f"run: {redact(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("run: interrupted", file=sys.stderr)
        return _INTERRUPTED


def _run(command: str, words: Sequence[str]) -> int:
    match command, len(words):
        case "up", 0:
            return up()
        case "demo", _:
            return demo(words)
        case "example", _:
            return example(words)
        case "ask", 3:
            return first(words)
        case "reap", 0:
            return clear()
        case _:
            print(_USAGE, file=sys.stderr)
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
