"""Regular expressions of models, by RE2: the time they take grows with the text, never faster."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from agents.tools.calls import ToolError

#: Bytes that one expression's automaton may take.
_MEMORY_BYTES = 8 * 1024 * 1024
_MAX_LENGTH = 1_000


@lru_cache(32)
def compiled(pattern: str, *, regex: bool = True, ignore_case: bool = False) -> Any:
    """The expression, or the literal text, compiled; those that were met last are kept.

    Raises:
        ToolError: RE2 does not take it; it says why.
    """
    import re2

    if not pattern or len(pattern) > _MAX_LENGTH:
        raise ToolError(f"Give a pattern of 1 to {_MAX_LENGTH} characters.")
    options = re2.Options()
    options.max_mem = _MEMORY_BYTES
    options.log_errors = False
    options.case_sensitive = not ignore_case
    options.literal = not regex
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        told = error.args[0] if error.args else error
        text = told.decode(errors="replace") if isinstance(told, bytes) else told
        raise ToolError(
            f"RE2 does not take the pattern: {text}. It has no lookaround and no backreferences; "
            "with regex=false the text is looked for as it is."
        ) from None
