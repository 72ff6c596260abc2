"""The timers that an instance of a flow has set."""

from __future__ import annotations

from asyncio import TimerHandle


class Timers:
    """Timers by the keys of their commands."""

    def __init__(self) -> None:
        self._handles: dict[str, TimerHandle] = {}
        self._keys: dict[int, str] = {}  # by identity: two of the same time are equal

    def __bool__(self) -> bool:
        return bool(self._handles)

    def add(self, key: str, handle: TimerHandle) -> None:
        """Keep a timer."""
        self._handles[key] = handle
        self._keys[id(handle)] = key

    def remove(self, handle: TimerHandle) -> None:
        """Forget a timer that was cancelled."""
        self._handles.pop(self._keys.pop(id(handle), ""), None)

    def ring(self, key: str) -> None:
        """Do what is to be done when the time of that one has come."""
        handle = self._handles.pop(key, None)
        if handle is not None:
            self._keys.pop(id(handle), None)
            handle._run()  # noqa: SLF001 - a loop's part

    def due(self, at: float) -> list[tuple[float, str]]:
        """Those whose time has come then, in their order."""
        return sorted((h.when(), key) for key, h in self._handles.items() if h.when() <= at)

    @property
    def next_due(self) -> float | None:
        """When the next one is due."""
        return min((h.when() for h in self._handles.values()), default=None)
