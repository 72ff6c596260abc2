"""Bounds of HTML that others wrote."""

from __future__ import annotations

import re

from agents.tools.calls import ToolError

_MAX_DEPTH = 150
_TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9]*)")
_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "wbr"}


def check_depth(html: str) -> None:
    """Look how deep elements are nested: readers of HTML take time with the square of that.

    Raises:
        ToolError: it is too deep.
    """
    depth = 0
    for tag in _TAG.finditer(html):
        if tag.group(2).lower() not in _VOID:
            depth += -1 if tag.group(1) else 1
            if depth > _MAX_DEPTH:
                raise ToolError("The HTML is nested too deep. Give a part of it.")
