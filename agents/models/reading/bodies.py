"""From bytes to JSON: a stream of server-sent events, or one document, whichever comes.

Servers answer with a whole document where a stream was asked for, and with a stream where none was;
what begins like JSON is read as JSON, whatever its content type says.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any, NamedTuple

from agents.values import shown
from celery_agents.errors import BadAnswerError

_DONE = "[DONE]"


class Body(NamedTuple):
    """One JSON value of an answer. ``last`` says that the answer is complete with it."""

    value: Any
    event: str = ""  # the name of its server-sent event
    last: bool = False


async def bodies(chunks: AsyncIterator[bytes], *, who: str) -> AsyncIterator[Body]:
    """The JSON values of an answer as they arrive.

    Raises:
        BadAnswerError: it is neither JSON nor a stream of it.
    """
    decoder = codecs.getincrementaldecoder("utf-8-sig")(errors="replace")
    events, document, rest = _Events(who), [], ""
    whole: bool | None = None  # not known before its first character
    async for chunk in chunks:
        rest += decoder.decode(chunk)
        if whole is None and (begun := rest.lstrip()):
            whole = begun[0] in "{["
        if whole:
            document.append(rest)
            rest = ""
        elif whole is False:
            *lines, rest = rest.split("\n")
            for body in events.read(lines):
                yield body
    for body in _documents("".join(document), who) if whole else events.read([rest, ""]):
        yield body
    events.check()


def _documents(text: str, who: str) -> list[Body]:
    """A whole document: one value, a list of a stream's chunks, or one of them in each line."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        try:
            return [Body(json.loads(line)) for line in text.split("\n") if line.strip()]
        except (ValueError, RecursionError):
            raise _unreadable(who, text) from None
    values = found if isinstance(found, list) else [found]
    return [Body(value, last=place == len(values)) for place, value in enumerate(values, 1)]


class _Events:
    """The lines of server-sent events (WHATWG HTML, 9.2), put together."""

    def __init__(self, who: str) -> None:
        self._who = who
        self._data: list[str] = []
        self._event = ""
        self._seen = False
        self._stray = ""

    def read(self, lines: Iterable[str]) -> Iterator[Body]:
        """The events that these lines complete."""
        for line in lines:
            yield from self._line(line.rstrip("\r"))

    def _line(self, line: str) -> Iterator[Body]:
        if not line:
            yield from self._dispatch()
            return
        name, colon, value = line.partition(":")
        if name == "data" and colon:
            self._data.append(value.removeprefix(" "))
        elif name == "event" and colon:
            yield from self._dispatch()  # some leave the empty line between events out
            self._event = value.strip()
        elif name not in {"", "id", "retry"}:
            self._stray = self._stray or line

    def check(self) -> None:
        """Raise an error if this was no stream at all."""
        if self._stray and not self._seen:
            raise _unreadable(self._who, self._stray)

    def _dispatch(self) -> Iterator[Body]:
        data, event = self._data, self._event
        self._data, self._event = [], ""
        try:
            found = [_body("\n".join(data), event)]
        except (ValueError, RecursionError):
            try:  # several events, without an empty line between
                found = [_body(one, event) for one in data]
            except (ValueError, RecursionError):
                raise _unreadable(self._who, "\n".join(data)) from None
        for body in found:
            if body is not None:
                self._seen = True
                yield body


def _body(text: str, event: str) -> Body | None:
    text = text.strip()
    if text.startswith(_DONE):
        return Body(None, event, last=True)
    return Body(json.loads(text), event) if text else None


def _unreadable(who: str, text: str) -> BadAnswerError:
    return BadAnswerError(f"{who} gave an unreadable answer: {shown(text)}")
