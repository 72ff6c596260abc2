"""TLS for the tests: a certificate authority, and a relay that ends TLS or listens on the wire.

The broker of the tests has no TLS of its own, so a relay in front of it does; what clients meet is
a real TLS server.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import ssl
import threading
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from deploy.local.servers import LOOPBACK

_CHUNK = 65_536
#: What a relay keeps of each direction.
_KEPT = 8 * 1024 * 1024


class Authority:
    """A certificate authority of a test's own, with what it signed, as files."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("tests' authority")
        certificate = _builder(self._name, self._name, self._key.public_key(), ca=True)
        self.path = directory / "ca.pem"
        self.path.write_bytes(_pem(certificate.sign(self._key, hashes.SHA256())))

    def signed(self, name: str, *hosts: str) -> tuple[Path, Path]:
        """A certificate and its key, for these names and addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(self._name, _name(name), key.public_key(), ca=False)
        if hosts:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_host(h) for h in hosts]), critical=False
            )
        certificate, secret = (self._directory / f"{name}.{end}" for end in ("pem", "key"))
        certificate.write_bytes(_pem(builder.sign(self._key, hashes.SHA256())))
        secret.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return certificate, secret

    def server_context(self, *, asks_clients: bool = False) -> ssl.SSLContext:
        """Of a server on loopback; with ``asks_clients`` they need a certificate too."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.signed("server", "localhost", LOOPBACK))
        if asks_clients:
            context.load_verify_locations(self.path)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _host(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _builder(
    issuer: x509.Name, subject: x509.Name, key: ec.EllipticCurvePublicKey, *, ca: bool
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    day = dt.timedelta(days=1)
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .subject_name(subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )


class Relay:
    """Passes on what comes to a port of loopback, and keeps what clients sent.

    With ``tls`` it is a TLS server, and keeps what they sent inside.
    """

    def __init__(self, target: int, tls: ssl.SSLContext | None = None) -> None:
        self._target = target
        self._tls = tls
        self.heard = bytearray()
        self.connections = 0
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _listen(self) -> asyncio.Server:
        self._loop.set_exception_handler(lambda *_: None)  # handshakes that fail are the tests'
        server = await asyncio.start_server(self._serve, LOOPBACK, 0, ssl=self._tls)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _close(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            there, to = await asyncio.open_connection(LOOPBACK, self._target)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass(reader, to, keep=True))
                group.create_task(self._pass(there, writer, keep=False))
        except* OSError:
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, keep: bool
    ) -> None:
        try:
            while data := await reader.read(_CHUNK):
                if keep and len(self.heard) < _KEPT:
                    self.heard += data
                writer.write(data)
                await writer.drain()
        finally:
            with suppress(OSError):
                writer.close()
