"""TLS to the broker: the options of an address, and the meaning of a failed handshake."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from typing import Any

#: The parameter that is a secret.
KEY_PASSWORD = "ssl_password"  # noqa: S105 - its name


def usable(options: Mapping[str, Any]) -> bool:
    """Return whether certificates, keys and ciphers of these options of redis-py can be loaded."""
    context = ssl.create_default_context()
    trusted = [options.get(name) for name in ("ssl_ca_certs", "ssl_ca_path", "ssl_ca_data")]
    try:
        if any(trusted):
            context.load_verify_locations(*trusted)
        if own := options.get("ssl_certfile"):
            key, password = options.get("ssl_keyfile"), options.get(KEY_PASSWORD, "")
            context.load_cert_chain(own, key, password)  # "": it must not ask at the terminal
        if ciphers := options.get("ssl_ciphers"):
            context.set_ciphers(ciphers)
    except (OSError, ValueError):
        return False
    return True


def refused(error: BaseException) -> str | None:
    """Return why no retry helps, if a handshake failed; None for another failure.

    A server that goes away amid a handshake is such another one.
    """
    for cause in _chain(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            why = getattr(cause, "verify_message", "it was not verified")
            return (
                f"whose certificate is not trusted ({why}). Name the file with "
                "its CA: rediss://HOST:6379/0?ssl_ca_certs=/path/to/ca.pem"
            )
        if isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            return None
        if isinstance(cause, ssl.SSLError):
            why = getattr(cause, "reason", None) or "the handshake failed"
            return (
                f"with which no TLS connection can be made ({why}). Where the server has "
                "no TLS, the address begins with redis:// (sentinel://)"
            )
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
