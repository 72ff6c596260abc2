"""Unified diffs: read, and applied exactly, or not at all."""

from __future__ import annotations

import difflib
import re
from typing import Any

from agents.tools.calls import ToolError

#: Lines before and behind one that are looked at for the nearest.
_LOOKED_AT = 200
_AROUND = 2
_HEAD = re.compile(r"^(?=--- .*\n\+\+\+ .*\n@@ )", re.MULTILINE)


def parsed(patch: str) -> list[Any]:
    """The changes of a patch, one for each text.

    Raises:
        ToolError: it is none.
    """
    import whatthepatch

    try:
        # Without a line between them, the next text's head looks like a line that is deleted.
        parts = _HEAD.split(patch)
        found = [diff for part in parts for diff in whatthepatch.parse_patch(part) if diff.changes]
    except (whatthepatch.exceptions.WhatThePatchException, ValueError) as error:
        raise ToolError(f"This is no unified diff: {error}") from None
    if not found:
        raise ToolError("This is no unified diff: give lines like '@@ -1,2 +1,2 @@', ' ', -, +.")
    return found


def apply(change: Any, text: str) -> str:
    """The text with a change; bytes outside of it stay as they are.

    Raises:
        ToolError: it does not fit; the nearest lines are shown, and nothing is guessed.
    """
    ends = "\r\n" if "\r\n" in text else "\n"
    lines = text.split(ends)
    made: list[str] = []
    at = 0
    for old, new, line, *_ in change.changes:
        if old is None:
            ahead = max(0, min(new - 1 - len(made), len(lines) - at))
            made += [*lines[at : at + ahead], line]
            at += ahead
            continue
        place = old - 1
        if place < at or place >= len(lines) or lines[place] != line:
            raise ToolError(_near_miss(lines, old, line))
        made += lines[at:place]
        at = place + 1
        if new is not None:
            made.append(line)
    return ends.join([*made, *lines[at:]])


def reversed_of(change: Any) -> Any:
    """The change that undoes a change."""
    undone = [one._replace(old=one.new, new=one.old) for one in change.changes]
    return change._replace(changes=undone)


def near(lines: list[str], wanted: str, number: int = 1) -> str:
    """Shows the line that is most like one, near a place; empty where none is."""
    first = max(0, number - _LOOKED_AT)
    looked_at = [line[:200] for line in lines[first : number + _LOOKED_AT]]
    found = difflib.get_close_matches(wanted[:200], looked_at, 1)
    if not found:
        return ""
    place = first + looked_at.index(found[0])
    shown = "\n".join(
        f"{n + 1}: {lines[n][:200]}"
        for n in range(max(0, place - _AROUND), min(len(lines), place + _AROUND + 1))
    )
    return f" The nearest is line {place + 1}:\n{shown}"


def _near_miss(lines: list[str], number: int, wanted: str) -> str:
    told = f"The patch does not fit: its line {number} is {wanted[:200]!r}. Nothing was changed."
    return told + (near(lines, wanted, number) or " No line of the text is like that.")
