"""A bar on the standard error stream that shows how far a run is, while somebody waits for it."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from celery_agents.client.overview.trees import progress_line
from celery_agents.contracts.watching import MemberProgress
from celery_agents.errors import AgentsError
from celery_agents.noted import note

log = logging.getLogger(__name__)

#: Seconds between two looks.
EVERY_S = 1.0
_Draw = Callable[[MemberProgress], None]


@contextmanager
def bar(look: Callable[[], MemberProgress | None], *, every_s: float = EVERY_S) -> Iterator[None]:
    """Draw a bar while the block runs, and how far it was at its end."""
    over = threading.Event()
    with _drawing() as draw:
        thread = threading.Thread(
            target=_watch, args=(look, draw, over, every_s), name="agents-bar", daemon=True
        )
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def _watch(
    look: Callable[[], MemberProgress | None], draw: _Draw, over: threading.Event, every_s: float
) -> None:
    ended = False
    while not ended:
        ended = over.wait(every_s)  # once more after the end, for the last figures
        try:
            found = look()
        except AgentsError as error:  # nobody's run fails by it
            note(log, "progress_bar", "How far a run is cannot be seen", error=error)
            continue
        if found is not None:
            draw(found)


@contextmanager
def _drawing() -> Iterator[_Draw]:
    try:
        from rich import progress as rich_progress
        from rich.console import Console
    except ImportError:
        yield _lines()
        return
    columns: Any = (
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TextColumn("{task.fields[failed]:,} failed"),
        rich_progress.TextColumn("{task.fields[running]:,} running"),
        rich_progress.TimeRemainingColumn(),
    )
    with rich_progress.Progress(*columns, console=Console(stderr=True)) as shown:
        task = shown.add_task("", total=None, failed=0, running=0)

        def draw(told: MemberProgress) -> None:
            about: dict[str, Any] = {"failed": told.failed, "running": told.running}
            shown.update(task, total=told.total, completed=told.done, **about)

        yield draw


def _lines() -> _Draw:
    """Return a drawing of lines: each over the one before on a terminal, else where it moved."""
    last = [""]

    def draw(told: MemberProgress) -> None:
        line = progress_line(told.told())
        if line != last[0]:
            end = "\r" if sys.stderr.isatty() else "\n"
            sys.stderr.write(f"{line}{end}")
            sys.stderr.flush()
            last[0] = line

    return draw
