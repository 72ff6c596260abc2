"""Inputs of any number, cut into pages as they are read: one page is in memory at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.mapping import INPUTS_MAX, PAGE_MAX
from celery_agents.errors import InvalidPayloadError
from celery_agents.values import problem
from celery_agents.wire.messages import to_json


class PageCutter:
    """Takes inputs, and gives full pages once they are too many for one message of the limit."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit, self._half = limit_bytes, limit_bytes // 2
        self._held: list[tuple[JsonValue, int]] = []
        self._bytes = self._taken = 0
        self._digest = hashlib.sha256().hexdigest()
        #: Inputs of each page that was given.
        self.counts: list[int] = []

    @property
    def cut(self) -> bool:
        """True when there are pages."""
        return bool(self.counts)

    @property
    def inputs(self) -> list[JsonValue]:
        """All inputs, of which no page was given."""
        return [value for value, _ in self._held]

    @property
    def digest(self) -> str:
        """A hash of all that was given so far, and how it was cut."""
        return self._digest

    def take(self, value: JsonValue) -> Iterator[list[JsonValue]]:
        """Take an input; gives the pages that it makes full.

        Raises:
            InvalidPayloadError: it is no JSON value.
        """
        if (wrong := problem(value)) is not None:
            raise InvalidPayloadError(f"Map: input.{self._taken}: {wrong}")
        size = len(to_json(value)) + 1
        self._taken += 1
        if self.cut:
            full = len(self._held) == PAGE_MAX or self._bytes + size > self._half
        else:
            full = len(self._held) == INPUTS_MAX or self._bytes + size > self._limit
        if full and self._held:
            yield from self._given()
        self._held.append((value, size))
        self._bytes += size

    def rest(self) -> Iterator[list[JsonValue]]:
        """The last pages, where there are pages."""
        if self.cut and self._held:
            yield from self._given()

    def _given(self) -> Iterator[list[JsonValue]]:
        held, self._held, self._bytes = self._held, [], 0
        page: list[JsonValue] = []
        bytes_ = 0
        for value, size in held:
            if page and (len(page) == PAGE_MAX or bytes_ + size > self._half):
                yield self._page(page)
                page, bytes_ = [], 0
            page.append(value)
            bytes_ += size
        yield self._page(page)

    def _page(self, page: list[JsonValue]) -> list[JsonValue]:
        told = f"{self._digest}{to_json(page)}"
        self._digest = hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()
        self.counts.append(len(page))
        return page
