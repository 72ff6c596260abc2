"""Secrets of seals without a journal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from api.mcp.sealing.secrets import SharedSecrets


class KeptMemos:
    """Memos of several processes, kept here; ``away``: what the journal raises meanwhile."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}
        self.reads = 0
        self.away: Exception | None = None

    def read(self, key: str) -> dict[str, Any]:
        """The memo under a key."""
        self.reads += 1
        if self.away is not None:
            raise self.away
        found: dict[str, Any] = self.kept.get(key, {})
        return found

    def change(self, key: str, revise: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
        """Replace it."""
        self.kept[key] = revise(self.kept.get(key, {}))
        return self.kept[key]


async def at_once(work: Callable[..., Any], *args: Any) -> Any:
    """Read without threads."""
    return work(*args)


def shared_secrets(memos: KeptMemos | None = None, **about: Any) -> SharedSecrets:
    """The secrets of one process."""
    return SharedSecrets(KeptMemos() if memos is None else memos, at_once, **about)
