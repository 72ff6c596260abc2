"""Functions and tools whose results are cached: ``AGENTS_MODULES=["tests.support.cached"]``."""

from __future__ import annotations

import re
import time
import zlib
from pathlib import Path
from typing import Any

from celery_agents import agent, tool
from tests.support.gate import may_end


def _note(path: str, line: str) -> None:
    with Path(path).open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


@agent(effects="pure", cache=3600)
async def computed(order: dict[str, Any]) -> int:
    """Computes until there is the file ``after``, and notes that in the file ``path``."""
    _note(order["path"], "computed")
    await may_end(order)
    return len(order["path"])


@tool(effects="pure", cache_s=60)
def slow_length(path: str) -> int:
    """The length of a text, which takes long to find out."""
    _note(path, "counted")
    return len(path)


#: Words that the embedder takes for nothing.
_EMPTY = {"how", "can", "do", "i", "the", "my", "please", "a", "will", "when", "does"}


@agent(effects="pure")
def embedded(text: str) -> list[float]:
    """A vector of the words of a text, without its little ones and in no order."""
    found = [0.0] * 64
    for word in re.findall(r"\w+", text.lower()):
        if word not in _EMPTY and not word.isdecimal():
            found[zlib.crc32(word.encode()) % 64] += 1.0
    return found


def answered(text: str) -> str:
    """An answer that says what was asked."""
    return f"answer to {text}"


def fickle(_: str) -> int:
    """Answers otherwise each time."""
    return time.monotonic_ns()
