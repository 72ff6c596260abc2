"""Tables that fit a terminal, however long what stands in them is."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Collection, Iterable, Sequence

from celery_agents.visible import visible

#: The least width of a column that gives way, and what stands between two.
_LEAST, _GAP = 8, 2
#: Where the terminal does not say how wide it is, as in a pipe.
WIDTH = 80


def width() -> int:
    """Characters of a line of this terminal."""
    return shutil.get_terminal_size((WIDTH, 24)).columns


def room() -> int:
    """Characters of a line; a program that reads a pipe wants the whole of each text."""
    return width() if sys.stdout.isatty() else sys.maxsize


def fitted(lines: Iterable[str]) -> str:
    """Lines that are as long as the terminal lets them be."""
    return "\n".join(cut(visible(line), room()) for line in lines)


def table(
    head: Sequence[str], rows: Sequence[Sequence[str]], *, within: int, spare: Collection[str] = ()
) -> list[str]:
    """Lines of a table; the widest columns are cut until it fits, and its last one first.

    Where more than the last one had to be cut, columns of ``spare`` are left out before, those
    first that it names first. The first column is cut where nothing else is left to give way.
    """
    for name in spare:
        if _least(head, rows) <= within:
            break
        place = head.index(name)
        head = (*head[:place], *head[place + 1 :])
        rows = [(*row[:place], *row[place + 1 :]) for row in rows]
    return _cut_to(head, rows, within)


def _least(head: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """Characters of a line of whose columns the last one alone has given way."""
    lines = [tuple(head), *(tuple(visible(cell) for cell in row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return sum(widths[:-1]) + min(widths[-1], _LEAST) + _GAP * (len(head) - 1)


def _cut_to(head: Sequence[str], rows: Sequence[Sequence[str]], within: int) -> list[str]:
    lines = [tuple(head), *(tuple(visible(cell) for cell in row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    space = within - _GAP * (len(head) - 1)
    while sum(widths) > space and max(widths[1:], default=0) > _LEAST:
        # The first column has what a row is known by: it is copied, and gives way last.
        widest = max(range(1, len(widths)), key=lambda i: (widths[i], i))
        widths[widest] -= min(sum(widths) - space, max(1, widths[widest] - _LEAST))
    if (over := sum(widths) - space) > 0:
        widths[0] = max(widths[0] - over, _LEAST)
    gap = " " * _GAP
    return [
        gap.join(cut(cell, w).ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]


def cut(text: str, length: int) -> str:
    """A text that takes at most so many characters."""
    return text if len(text) <= length else f"{text[: max(length - 1, 0)]}…"


def ago(seconds: float) -> str:
    """Return how long ago something was, in one unit."""
    return f"{lasting(seconds)} ago"


def lasting(seconds: float) -> str:
    """A time in one unit."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def clock(at: float) -> str:
    """A moment by this machine's clock."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def dollars(usd: float | None) -> str:
    """A cost; ``?`` where nobody knows it."""
    return "?" if usd is None else f"${usd:.4f}" if usd else ""
