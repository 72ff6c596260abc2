"""Between a client and PostgreSQL: notes what is sent, and can lose an answer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from sqlalchemy import make_url

_HOST = "127.0.0.1"
_READY = b"Z\x00\x00\x00\x05"  # ReadyForQuery: the server is done with a query


class Proxy:
    """A port of its own before the server of ``url``; speaks the simple protocol, without TLS."""

    def __init__(self, url: str) -> None:
        server = make_url(url)
        self._server = (server.host, server.port)
        self._listener = socket.create_server((_HOST, 0))
        port = self._listener.getsockname()[1]
        through = server.set(host=_HOST, port=port).update_query_dict({"sslmode": "disable"})
        self.url = through.render_as_string(hide_password=False)
        #: What was sent, a round trip each.
        self.queries: list[str] = []
        #: Of the next query that contains this the answer is lost, and the connection with it.
        self.lose: str | None = None
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    @property
    def lost(self) -> bool:
        """Whether the answer that was to be lost is."""
        return self.lose is None

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                _Relay(self, client, socket.create_connection(self._server))


class _Relay:
    """One connection."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._mute = False
        for work in (self._forth, self._back):
            threading.Thread(target=self._until_closed, args=(work,), daemon=True).start()

    def _until_closed(self, work: Callable[[], None]) -> None:
        with suppress(OSError):
            work()
        for end in (self._client, self._server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _forth(self) -> None:
        self._server.sendall(self._message(b""))  # the startup message has no type
        while True:
            kind = self._exactly(1)
            message = self._message(kind)
            if kind == b"Q":
                self._note(message[5:-1].decode())
            self._server.sendall(message)

    def _note(self, query: str) -> None:
        self._proxy.queries.append(query)
        if self._proxy.lose is not None and self._proxy.lose in query:
            self._proxy.lose = None
            self._mute = True

    def _message(self, kind: bytes) -> bytes:
        length = self._exactly(4)
        return kind + length + self._exactly(int.from_bytes(length) - 4)

    def _exactly(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            more = self._client.recv(size - len(found))
            if not more:
                raise ConnectionResetError
            found += more
        return found

    def _back(self) -> None:
        answer = b""
        while data := self._server.recv(65536):
            answer += data
            if not self._mute:
                self._client.sendall(data)
                answer = b""
            elif _READY in answer:
                return
