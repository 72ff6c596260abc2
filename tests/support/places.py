"""Tools of the tests that programs call: each call writes a line, one may kill its worker."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from celery_agents import tool


def _write(words: str) -> None:
    with Path(os.environ["PLACES"]).open("a") as file:
        file.write(f"{words}\n")
        file.flush()
        os.fsync(file.fileno())


def _called(kind: str, place: int) -> int:
    _write(f"{kind} {place} {os.getpid()}")
    wanted = Path(f"{os.environ['PLACES']}.dies")
    if wanted.exists() and wanted.read_text() == str(place):
        wanted.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)
    return place * place


@tool(effects="idempotent")
def put(place: int) -> int:
    """Puts something down."""
    return _called("put", place)


@tool(effects="effect")
def add(place: int) -> int:
    """Adds something, each time."""
    return _called("add", place)


@tool(effects="effect", on_uncertain="fail")
def add_surely(place: int) -> int:
    """Adds something, or its step fails."""
    return _called("sure", place)


@tool(effects="effect", approve="ask")
def spend(place: int) -> int:
    """Adds something that a person has approved."""
    return _called("spend", place)
