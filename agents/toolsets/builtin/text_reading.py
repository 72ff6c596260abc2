"""Tools that look at texts."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from agents.governance.estimate import expected
from agents.guarding.addresses import emails
from agents.guarding.numbers import ibans
from agents.toolsets.builtin.offer import Document, Short, Text, offer
from agents.toolsets.builtin.patterns import compiled

_SENTENCE = re.compile(r"[^.!?…。！？\s][^.!?…。！？]*(?:[.!?…。！？]+|$)")
_KINDS = {
    "urls": re.compile(r"https?://[^\s<>\"'`)\]}]+"),
    "numbers": re.compile(r"(?:^|[^\w.,+-])([-+]?\d+(?:[.,_']\d+)*)"),
    "dates": re.compile(r"\b\d{4}-\d{2}-\d{2}\b|\b\d{1,2}[./]\d{1,2}[./]\d{2,4}\b"),
}
_FINDERS = {"emails": emails, "ibans": ibans}
_SCORE_SHOWN = 1


@offer({"text": "Two words. Three more words!"}, inline=1_000)
def count_text(text: Text) -> dict[str, int]:
    """Counts characters, bytes, words, lines and sentences; tokens are an estimate."""
    return {
        "characters": len(text),
        "bytes": len(text.encode(errors="replace")),
        "words": len(text.split()),
        "lines": len(text.splitlines()),
        "sentences": len(sentences(text)),
        "tokens_about": expected([text]).input_tokens,
    }


@offer(
    {"text": "One. Two. Three.", "size": 2, "overlap": 1, "by": "sentences"},
    inline=500,
    unless=lambda given: given["overlap"] > 20,  # noqa: PLR2004 - few
)
def split_text(
    text: Text,
    size: Annotated[int, Field(ge=1, le=100_000)] = 200,
    overlap: Annotated[int, Field(ge=0, le=50_000)] = 0,
    by: Literal["words", "sentences", "lines", "characters"] = "words",
) -> list[str]:
    """Cuts a text into chunks of so many units; each begins with the last ones before it."""
    between = {"words": " ", "sentences": " ", "lines": "\n", "characters": ""}[by]
    cut: dict[str, Callable[[], Any]] = {
        "words": text.split,
        "sentences": lambda: sentences(text),
        "lines": text.splitlines,
        "characters": lambda: text,
    }
    units = cut[by]()
    step = max(1, size - overlap)
    starts = range(0, max(1, len(units) - min(overlap, size - 1)), step)
    return [between.join(units[at : at + size]) for at in starts] if units else []


@offer(
    {"text": "a cat\na dog\na cow", "pattern": "c.", "regex": True},
    "re2",
    inline=150,
    unless=lambda given: given["regex"],  # some take milliseconds to be compiled
)
def find_text(
    text: Text,
    pattern: str,
    regex: bool = False,
    ignore_case: bool = False,
    context: Annotated[int, Field(ge=0, le=20)] = 0,
    most: Annotated[int, Field(ge=1, le=1_000)] = 50,
) -> dict[str, Any]:
    """Finds a text or an RE2 pattern: each line that has it, with its number and lines around."""
    found = compiled(pattern, regex=regex, ignore_case=ignore_case)
    lines = text.splitlines()
    hits = [n for n, line in enumerate(lines) if found.search(line) is not None]
    return {
        "lines_found": len(hits),
        "shown": [
            {"line": n + 1, "text": "\n".join(lines[max(0, n - context) : n + context + 1])}
            for n in hits[:most]
        ],
    }


@offer({"text": "Mail ann@example.com by 2026-05-04."}, inline=300)
def extract_patterns(
    text: Document,
    kinds: list[Literal["emails", "urls", "numbers", "dates", "ibans"]] | None = None,
) -> dict[str, list[str]]:
    """Extracts e-mails, URLs, numbers, dates and IBANs, whose check digits are right."""
    found: dict[str, list[str]] = {}
    wanted_kinds: Sequence[str] = kinds or [*_FINDERS, *_KINDS]
    for kind in wanted_kinds:
        if kind in _FINDERS:
            spans = [(f.start, f.end) for f in _FINDERS[kind](text)]
        else:
            wanted = _KINDS[kind]
            spans = [m.span(wanted.groups) for m in wanted.finditer(text)]
        found[kind] = list(dict.fromkeys(text[a:b].rstrip(".,;:") for a, b in spans))[:1_000]
    return found


@offer({"text": "color", "others": ["colour", "collar", "size"]}, "rapidfuzz", inline=1_000)
def compare_texts(
    text: Annotated[str, Field(max_length=20_000)],
    others: Annotated[list[Short], Field(max_length=2_000, min_length=1)],
    most: Annotated[int, Field(ge=1, le=100)] = 5,
) -> list[dict[str, Any]]:
    """Compares a text with others: the most similar ones first, from 0 to 100."""
    from rapidfuzz import fuzz, process

    best = process.extract(text, others, scorer=fuzz.ratio, limit=most)
    return [{"text": t, "score": round(s, _SCORE_SHOWN), "index": n} for t, s, n in best]


@offer({"text": "abc", "algorithm": "sha256"}, inline=10_000)
def hash_text(
    text: Text, algorithm: Literal["sha256", "sha512", "sha1", "md5", "crc32"] = "sha256"
) -> str:
    """Gives the digest of a text's UTF-8 bytes, in hexadecimal digits."""
    data = text.encode(errors="replace")
    if algorithm == "crc32":
        return f"{zlib.crc32(data):08x}"
    return hashlib.new(algorithm, data, usedforsecurity=False).hexdigest()


def sentences(text: str) -> list[str]:
    """The sentences of a text, by their ends."""
    return [m.group().strip() for m in _SENTENCE.finditer(text)]


TOOLS = (count_text, split_text, find_text, extract_patterns, compare_texts, hash_text)
