"""A person whose browser comes back to this machine (RFC 8252, 7.3)."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from urllib.parse import parse_qsl, urlsplit

from celery_agents.errors import ConfigurationError

_HOST, _PATH = "127.0.0.1", "/callback"
#: Seconds for a browser to say what it wants, and bytes of a line of that.
_ASKED_S, _LINE = 10.0, 16 * 1024
_PAGE = """<!doctype html><title>celery-agents</title><p>{}</p>"""


def redirect_uri(port: int) -> str:
    """The address of a port of this machine for the browser to come back to."""
    return f"http://{_HOST}:{port}{_PATH}"


def agreed(found: Mapping[str, str]) -> Mapping[str, str]:
    """Return what a redirect brought.

    Raises:
        ConfigurationError: that nobody has signed in.
    """
    if "error" in found:
        why = ": ".join(found[name] for name in ("error", "error_description") if name in found)
        raise ConfigurationError(f"The authorization server says no: {why}")
    return found


class Loopback:
    """Shows a person a page, and hears of the end on a port of this machine."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show
        self._state = ""
        self._come: asyncio.Future[dict[str, str]] | None = None
        self.port = 0

    @property
    def redirect_uri(self) -> str:
        """The address that the browser comes back to."""
        return redirect_uri(self.port)

    async def sign_in(self, url: str) -> Mapping[str, str]:
        """Show a page; return what the redirect brought. Raises as :func:`agreed` does."""
        self._state = dict(parse_qsl(urlsplit(url).query)).get("state", "")
        self._come = asyncio.get_running_loop().create_future()
        self._show(url)
        return agreed(await self._come)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request of a browser, or of anybody on this machine."""
        try:
            async with asyncio.timeout(_ASKED_S):
                asked = (await reader.readline()).decode("latin-1").split()
                while (await reader.readline()).strip():
                    pass
            status, told = self._heard(asked)
            body = _PAGE.format(told).encode()
            head = f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Length: {len(body)}\r\n"
            more = "Content-Type: text/html; charset=utf-8\r\nConnection: close\r\n\r\n"
            writer.write((head + more).encode() + body)
            await writer.drain()
        except (OSError, ValueError, TimeoutError):  # it said nothing, or too much
            pass
        finally:
            writer.close()

    def _heard(self, asked: list[str]) -> tuple[HTTPStatus, str]:
        """Take a redirect; one without the state that only our page has is somebody else's."""
        where = urlsplit(asked[1] if len(asked) > 1 else "")
        if asked[:1] != ["GET"] or where.path != _PATH:
            return HTTPStatus.NOT_FOUND, "There is nothing here."
        found = dict(parse_qsl(where.query))
        ours = hmac.compare_digest(found.get("state", "").encode(), self._state.encode())
        if self._come is None or self._come.done() or not ours:
            return HTTPStatus.BAD_REQUEST, "Nobody waits for this."
        self._come.set_result(found)
        return HTTPStatus.OK, "The command goes on. This page may be closed."


@asynccontextmanager
async def listening(port: int, show: Callable[[str], None]) -> AsyncIterator[Loopback]:
    """A person with a browser on this machine.

    Args:
        port: to come back to; 0: any that is free.
        show: is given the address of the page to look at.

    Raises:
        ConfigurationError: the port is not free.
    """
    person = Loopback(show)
    try:
        server = await asyncio.start_server(person.serve, _HOST, port, limit=_LINE)
    except OSError as error:
        raise ConfigurationError(f"Port {port} of {_HOST} cannot be listened on: {error}") from None
    async with server:
        person.port = server.sockets[0].getsockname()[1]
        yield person
