r"""Texts that others wrote, as a terminal, a log or a page may show them.

Control characters move cursors, set titles and begin lines that look like somebody else's; marks
of direction turn what is read around. They are written as in Python: ``\x1b``, ``\u202e``.
"""

from __future__ import annotations

import json
import re

#: Controls (C0, DEL, C1), line and paragraph separators, marks of direction, and halves of
#: surrogate pairs, which no terminal takes. As the inside of a character class.
CONTROLS = (
    r"\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff"
)
_CONTROL = re.compile(f"[{CONTROLS}\ud800-\udfff]")
_CONTROL_IN_LINES = re.compile(f"(?![\n\t])[{CONTROLS}\ud800-\udfff]")
#: Later lines of one text: none of them begins as a line of a log or a table does.
_NEXT_LINE = "\n    "


def visible(text: object) -> str:
    """One line: line ends are escaped, too."""
    return _CONTROL.sub(_escaped, str(text))


def visible_lines(text: object) -> str:
    """Several lines, as an answer or a document has them."""
    return _CONTROL_IN_LINES.sub(_escaped, str(text))


def visible_block(text: object) -> str:
    """Several lines that stay together: those after the first are indented."""
    return visible_lines(text).replace("\n", _NEXT_LINE)


def visible_json(value: object, *, indent: int | None = None) -> str:
    """A JSON value, in which they are escaped as JSON has it."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return _CONTROL_IN_LINES.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()
