"""The prompts and resources of the configuration as its files are now."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from api.mcp.configured import Configured, read_configured
from celery_agents.errors import ConfigurationError
from celery_agents.noted import note

log = logging.getLogger(__name__)

#: Seconds between two looks at the files.
_LOOK_S = 0.25


class CurrentConfigured:
    """Reads the file again when it, or one that it names, is another one.

    A file that is not right changes nothing: what was there before stays, and the log says why.

    Raises:
        ConfigurationError: it is not right to begin with.
    """

    def __init__(self, config: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._config, self._clock = config, clock
        self._stamps = _stamps(config, ())
        self._made = read_configured(config)
        self._named = _named(config, self._made)
        self._stamps |= _stamps(None, self._named)
        self._looked_at = clock()

    def __call__(self) -> Configured:
        """The prompts and resources."""
        if self._config is not None and self._clock() >= self._looked_at + _LOOK_S:
            self._looked_at = self._clock()
            stamps = _stamps(self._config, self._named)
            if stamps != self._stamps:
                self._stamps = stamps
                self._read(self._config)
        return self._made

    def _read(self, config: Path) -> None:
        try:
            self._made = read_configured(config)
        except ConfigurationError as error:
            note(log, "mcp_configured", "Prompts and resources stay as they were", error=error)
            return
        self._named = _named(config, self._made)
        self._stamps |= _stamps(None, self._named)


def _named(config: Path | None, made: Configured) -> tuple[Path, ...]:
    """The files that entries name."""
    if config is None:
        return ()
    files = [
        *(prompt.file for prompt in made.prompts.values()),
        *(resource.file for resource in made.resources.values()),
    ]
    return tuple(config.parent / file for file in files if file is not None)


def _stamps(config: Path | None, named: Iterable[Path]) -> dict[Path, tuple[int, ...] | None]:
    """Figures that change with each file; None: it is not there."""
    return {path: _stamp(path) for path in (*(() if config is None else (config,)), *named)}


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        told = path.stat()
    except OSError:
        return None
    return (told.st_mtime_ns, told.st_size, told.st_ino)
