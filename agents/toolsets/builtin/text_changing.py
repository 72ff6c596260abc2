"""Tools that make texts of texts."""

from __future__ import annotations

import base64
import binascii
import difflib
import html
import re
import textwrap
import unicodedata
from collections.abc import Callable
from typing import Annotated, Any, Literal
from urllib.parse import quote, unquote

from pydantic import Field

from agents.tools.calls import ToolError
from agents.toolsets.builtin.markup import as_markdown, check_depth
from agents.toolsets.builtin.offer import Document, Text, offer
from agents.toolsets.builtin.patches import apply, parsed
from agents.toolsets.builtin.patterns import compiled

#: Lines of a text that is compared: the worst ones take time with the square of them.
_MAX_LINES = 1_000
Changed = Literal[
    "upper", "lower", "title", "slug", "snake", "dedent", "nfc", "nfkc", "no_accents", "squeeze"
]


@offer({"text": "a cat", "pattern": "c(.)t", "replacement": r"b\1t", "regex": True}, "re2")
def replace_text(
    text: Text,
    pattern: str,
    replacement: Annotated[str, Field(max_length=10_000)],
    regex: bool = False,
    ignore_case: bool = False,
    most: Annotated[int, Field(ge=0)] = 0,
) -> dict[str, str | int]:
    r"""Replaces a text or an RE2 pattern (\1 is its first group), most: so many times; 0: all."""
    found = compiled(pattern, regex=regex, ignore_case=ignore_case)
    count, size = 0, 0
    # In bytes: of a str, RE2's binding counts the characters before each match anew.
    given, wanted = text.encode(), replacement.encode()
    for count, match in enumerate(found.finditer(given), 1):  # noqa: B007 - it is returned
        size += len(wanted) + len(match.group())
        if size > 2 * len(given) + 2_000_000:
            raise ToolError("The result would be too long. Replace a part of it.")

    def made(match: Any) -> bytes:
        found: bytes = match.expand(wanted) if regex else wanted
        return found

    try:
        return {
            "text": found.sub(made, given, most).decode(),
            "replaced": min(count, most or count),
        }
    except (IndexError, ValueError) as error:
        raise ToolError(f"The replacement does not fit the pattern: {error}") from None


@offer({"before": "a\nb\n", "after": "a\nc\n"})
def diff_texts(before: Text, after: Text, context: Annotated[int, Field(ge=0, le=100)] = 3) -> str:
    """Compares two texts by lines: a unified diff; empty where they are the same."""
    old, new = before.splitlines(), after.splitlines()
    if max(len(old), len(new)) > _MAX_LINES:
        raise ToolError(f"Texts of up to {_MAX_LINES} lines are compared. Give parts of them.")
    found = difflib.unified_diff(old, new, "before", "after", lineterm="", n=context)
    return "".join(f"{line}\n" for line in found)


@offer({"text": "a\nb\n", "patch": "@@ -1,2 +1,2 @@\n a\n-b\n+c\n"}, "whatthepatch")
def patch_text(text: Text, patch: Document) -> str:
    """Applies a unified diff of one text; where it does not fit, the nearest lines are shown."""
    changes = parsed(patch)
    if len(changes) != 1:
        raise ToolError(f"The patch changes {len(changes)} texts; give it for one.")
    return apply(changes[0], text)


@offer({"html": "<h1>Title</h1><p>A <b>bold</b> word.</p>"}, "markdownify")
def html_to_markdown(html: Document, links: bool = True) -> str:
    """Turns HTML into Markdown, without scripts and styles."""
    cleaned = (
        compiled(r"(?is)<(?:script|style)\b.*?</(?:script|style)\s*>")
        .sub(b"", html.encode())
        .decode()
    )
    check_depth(cleaned)
    return re.sub(r"\n{3,}", "\n\n", as_markdown(cleaned, links=links)).strip()


@offer({"text": "Crème brûlée!", "change": "slug"}, inline=200)
def transform_text(text: Text, change: Changed) -> str:
    """Changes case or form: slug, snake, dedent, Unicode's forms, without accents or gaps."""
    return _CHANGES[change](text)


@offer({"text": "hé", "scheme": "base64"}, inline=2_000)
def encode_text(
    text: Text,
    scheme: Literal["base64", "base64url", "hex", "url", "html"],
    decode: bool = False,
) -> str:
    """Encodes the UTF-8 of a text, or decodes it."""
    there, back = _SCHEMES[scheme]
    try:
        return back(text) if decode else there(text)
    except (binascii.Error, ValueError) as error:
        raise ToolError(f"This is no {scheme} of a UTF-8 text: {error}") from None


def _plain(text: str) -> str:
    apart = unicodedata.normalize("NFKD", text)
    return unicodedata.normalize("NFC", "".join(c for c in apart if not unicodedata.combining(c)))


def _joined(text: str, by: str) -> str:
    kept = "".join(c if c.isalnum() else " " for c in _plain(text).lower())
    return by.join(kept.split())


_CHANGES: dict[str, Callable[[str], str]] = {
    "upper": str.upper,
    "lower": str.lower,
    "title": str.title,
    "slug": lambda text: _joined(text, "-"),
    "snake": lambda text: _joined(text, "_"),
    "dedent": textwrap.dedent,
    "nfc": lambda text: unicodedata.normalize("NFC", text),
    "nfkc": lambda text: unicodedata.normalize("NFKC", text),
    "no_accents": _plain,
    "squeeze": lambda text: " ".join(text.split()),
}
_SCHEMES: dict[str, tuple[Callable[[str], str], Callable[[str], str]]] = {
    "base64": (
        lambda text: base64.b64encode(text.encode()).decode(),
        lambda text: base64.b64decode("".join(text.split()), validate=True).decode(),
    ),
    "base64url": (
        lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
        lambda text: base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode(),
    ),
    "hex": (lambda text: text.encode().hex(), lambda text: bytes.fromhex(text).decode()),
    "url": (lambda text: quote(text, safe=""), lambda text: unquote(text, errors="strict")),
    "html": (html.escape, html.unescape),
}

TOOLS = (replace_text, diff_texts, patch_text, html_to_markdown, transform_text, encode_text)
