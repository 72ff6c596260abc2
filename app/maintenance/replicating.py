"""Taking over what other data centres have changed: page by page, from their API.

How far that is stands in the journal with what was taken, so whoever is killed goes on behind the
last page, and a page that is taken twice changes nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn
from urllib.parse import urlsplit, urlunsplit

from pydantic import ValidationError

from app.journal.replicated.store import ReplicatedStore
from celery_agents.contracts.flows.replicated import ReplicatedPage
from celery_agents.errors import (
    ConfigurationError,
    PermanentError,
    RetryableError,
)

#: Changes of a page, and bytes of one at the most.
PAGE, PAGE_BYTES = 500, 64 * 2**20
#: Seconds for a page's next bytes, and for all of it.
_TIMEOUT_S, _WHOLE_S = 30.0, 300.0
#: Seconds until one who follows asks a source again that does not answer: at first, and at most.
_WAIT_S, _WAIT_MAX_S = 1.0, 60.0
_REFUSED = range(400, 500)
_BUSY = {408, 425, 429}


class SourceAwayError(RetryableError):
    """The other data centre does not answer."""

    kind = "unavailable"


class SourceRefusedError(PermanentError):
    """The other data centre refuses, or answers what is no page."""

    kind = "refused"


class PageTaken(NamedTuple):
    """A page that was taken over, or why none was."""

    source: str
    new: int = 0
    known: int = 0
    #: Changes that are still to come, counted up to 10,000.
    behind: int = 0
    position: str | None = None
    #: This journal has another name since, for it was set back to an earlier state.
    renewed: bool = False
    #: Why the source was not read; it is asked again.
    error: str | None = None


class Source:
    """The API of another data centre.

    Args:
        url: its address, without a name or secret in it.
        key: of its API; it may read streams.

    Raises:
        ConfigurationError: the address is none, or has a secret; httpx2 is not installed.
    """

    def __init__(self, url: str, key: str | None, tenant: str = "") -> None:
        self.url, self._tenant = _checked(url, key), tenant
        try:
            import httpx2
        except ImportError:
            told = "Install what HTTP needs: pip install 'celery-agents[http]'"
            raise ConfigurationError(told) from None
        self._httpx = httpx2
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._client: Any = httpx2.Client(headers=headers, timeout=_TIMEOUT_S)

    def page(self, after: str | None, limit: int = PAGE) -> ReplicatedPage:
        """Read a page of its changes behind a position.

        Raises:
            SourceAwayError: it does not answer, or not now.
            SourceRefusedError: it refuses, or what it answers is no page.
        """
        asked = {"limit": limit, "after": after, "tenant": self._tenant or None}
        params = {name: value for name, value in asked.items() if value is not None}
        try:
            with self._client.stream("GET", f"{self.url}/replicated", params=params) as answer:
                status, body = answer.status_code, self._body(answer)
        except self._httpx.HTTPError as error:
            raise SourceAwayError(f"{self.url} does not answer: {type(error).__name__}") from None
        return self._read(status, body)

    def _body(self, answer: Any) -> bytes:
        body, until = bytearray(), time.monotonic() + _WHOLE_S
        for chunk in answer.iter_bytes():
            body += chunk
            if time.monotonic() > until:
                raise SourceAwayError(f"{self.url} answers too slowly")
            if len(body) > PAGE_BYTES:
                raise SourceRefusedError(f"{self.url} answers more than {PAGE_BYTES:,} bytes.")
        return bytes(body)

    def _read(self, status: int, body: bytes) -> ReplicatedPage:
        if status >= _REFUSED.stop or status in _BUSY:
            raise SourceAwayError(f"{self.url} answers {status}")
        if status != 200:  # noqa: PLR2004 - OK
            raise SourceRefusedError(f"{self.url} answers {status}: see its address and the key.")
        try:
            # Not by pydantic's own reader, which takes no halves of surrogate pairs; values may.
            told = json.loads(body, parse_constant=_refused_constant)
            return ReplicatedPage.model_validate(told)
        except (ValueError, RecursionError) as error:
            mistakes = error.error_count() if isinstance(error, ValidationError) else 1
            why = f"{self.url} answers what is no page: {mistakes} mistakes"
            raise SourceRefusedError(why) from None

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _refused_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _checked(url: str, key: str | None) -> str:
    try:
        parts = urlsplit(url)
        local = parts.hostname in {"localhost", "127.0.0.1", "::1"}
        known = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        known = known and url.isprintable() and not {*" ?#"} & {*url}
    except ValueError:
        known = False
    if not known:
        raise ConfigurationError("--from: it is the address of an API, as https://eu.example.org")
    if parts.username is not None or parts.password is not None:
        told = "--from: an address has no secrets; the key is in AGENTS_REPLICATE_KEY or a file."
        raise ConfigurationError(told)
    if key is not None and parts.scheme == "http" and not local:
        raise ConfigurationError("--from: a key goes by https alone.")
    return urlunsplit(parts._replace(path=parts.path.rstrip("/")))


@dataclass(slots=True)
class Replication:
    """Takes over what a source has, into a journal."""

    store: ReplicatedStore
    source: Source
    tenant: str = ""
    interval_s: float = 1.0
    #: Whether it begins at the source's first change, whatever was taken before.
    anew: bool = False
    #: The source's name among those that exchange values, as it was told last.
    _named: str | None = field(default=None, init=False)

    def once(self) -> Iterator[PageTaken]:
        """Take over all that there is now, page by page. Raises as :meth:`Source.page`."""
        # To begin at its first change is the costly question: it is asked for the name once.
        named = self._named or self.source.page(None, 1).replica
        anew, self.anew, self._named = self.anew, False, named
        after = None if anew else self.store.position(self.tenant, named)
        while True:
            page = self.source.page(after)
            if page.replica != self._named:
                if self._named != named:
                    raise SourceAwayError(f"{self.source.url} is several journals in turns")
                self._named = page.replica  # it was set back, and has a place of its own
                after = None if anew else self.store.position(self.tenant, page.replica)
                continue
            if page.position == after:
                if not page.entries:
                    return
                told = f"{self.source.url} answers the same page again and again."
                raise SourceRefusedError(told)
            taken = self.store.take(self.tenant, page)
            about = (page.behind, page.position, taken.renewed)
            yield PageTaken(self.source.url, taken.new, taken.known, *about)
            if not page.behind:
                return
            after = page.position

    def follow(self) -> Iterator[PageTaken]:
        """Take over what there is and what comes, until whoever reads goes.

        One that does not answer is asked again, later and later. Raises for what stays so, as
        :class:`SourceRefusedError`.
        """
        wait_s = _WAIT_S
        while True:
            try:
                for told in self.once():
                    if told.new or told.renewed:
                        yield told
                wait_s = _WAIT_S
                time.sleep(self.interval_s)
            except RetryableError as error:
                yield PageTaken(self.source.url, error=error.message)
                time.sleep(wait_s)
                wait_s = min(wait_s * 2, _WAIT_MAX_S)
