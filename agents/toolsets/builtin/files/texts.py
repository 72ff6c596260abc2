"""Bytes of files as text."""

from __future__ import annotations

from agents.tools.calls import ToolError

_LOOKED_AT = 50_000


def decoded(data: bytes, path: str) -> tuple[str, str]:
    """The text of a file, and its encoding.

    Raises:
        ToolError: it is no text.
    """
    if data.startswith(b"\xef\xbb\xbf"):
        return data[3:].decode(errors="replace"), "utf-8-sig"
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="replace"), "utf-16"
    try:
        if b"\0" not in data:
            return data.decode(), "utf-8"
    except UnicodeDecodeError:
        if (found := _guessed(data)) is not None:
            return data.decode(found, errors="replace"), found
    raise ToolError(f"{path[:200]} is no text. read_document reads PDF, XLSX, DOCX and EML.")


def _guessed(data: bytes) -> str | None:
    from charset_normalizer import from_bytes

    best = from_bytes(data[:_LOOKED_AT]).best()
    return None if best is None else best.encoding
