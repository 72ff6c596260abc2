"""Names of older clients' sessions, which tell what a client can be asked.

The name is told to it, and comes with each of its messages: so any process knows it, and none keeps
anything. Nobody is let in by it, and whoever changes it changes what he is asked himself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

#: The header, and what a client can be asked, by a letter of its name.
HEADER = "mcp-session-id"
_LETTERS = {"e": "elicitation", "s": "sampling", "r": "roots"}
_NAME = re.compile(r"([esr]{0,3})-[0-9a-f]{32}")


def named(message: Any) -> str | None:
    """The name of the session that a message begins; None: it begins none.

    >>> named({"method": "initialize", "params": {"capabilities": {"roots": {}}}})[:2]
    'r-'
    """
    if not isinstance(message, dict) or message.get("method") != "initialize":
        return None
    told = message.get("params", {}).get("capabilities")
    told = told if isinstance(told, dict) else {}
    letters = "".join(
        letter for letter, name in _LETTERS.items() if isinstance(told.get(name), dict)
    )
    return f"{letters}-{uuid4().hex}"


def session_of(headers: Mapping[str, str]) -> str | None:
    """The name that came with a message; None: it has none of ours."""
    told = headers.get(HEADER, "")
    return told if _NAME.fullmatch(told) else None


def asks_of(session: str | None) -> tuple[str, ...]:
    """The things that the client of a session can be asked.

    >>> asks_of("es-" + "0" * 32)
    ('elicitation', 'sampling')
    """
    match = _NAME.fullmatch(session or "")
    return () if match is None else tuple(_LETTERS[letter] for letter in match[1])
