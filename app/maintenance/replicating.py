"""Taking over what other data centres have changed: page by page, from their API.

How far that is stands in the journal with what was taken, so whoever is killed goes on behind the
last page, and a page that is taken twice changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple
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
#: Seconds for a page; and between two looks of one who follows.
_TIMEOUT_S = 30.0
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
        body = b""
        for chunk in answer.iter_bytes():
            body += chunk
            if len(body) > PAGE_BYTES:
                raise SourceRefusedError(f"{self.url} answers more than {PAGE_BYTES:,} bytes.")
        return body

    def _read(self, status: int, body: bytes) -> ReplicatedPage:
        if status >= _REFUSED.stop or status in _BUSY:
            raise SourceAwayError(f"{self.url} answers {status}")
        if status != 200:  # noqa: PLR2004 - OK
            raise SourceRefusedError(f"{self.url} answers {status}: see its address and the key.")
        try:
            return ReplicatedPage.model_validate_json(body)
        except ValidationError as error:
            told = f"{self.url} answers what is no page: {error.error_count()} mistakes"
            raise SourceRefusedError(told) from None

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _checked(url: str, key: str | None) -> str:
    try:
        parts = urlsplit(url)
        host, local = parts.hostname, parts.hostname in {"localhost", "127.0.0.1", "::1"}
    except ValueError:
        host = None
    if host is None or parts.scheme not in {"http", "https"} or parts.query or parts.fragment:
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

    def once(self) -> Iterator[PageTaken]:
        """Take over all that there is now, page by page. Raises as :meth:`Source.page`."""
        name = self.source.page(None, 1).replica
        after = None if self.anew else self.store.position(self.tenant, name)
        self.anew = False
        while True:
            page = self.source.page(after)
            if not page.entries and page.position == after:
                return
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
