"""Signatures of webhooks, as the Standard Webhooks specification (1.0.0) has them.

``v1,`` and base64 of HMAC-SHA256 over ``<id>.<timestamp>.<body>``, one for each secret, so that
receivers may go over to a new one in their own time.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

from celery_agents.errors import ConfigurationError

_PREFIX = "whsec_"
#: Bytes that a secret has, by the specification.
_LEAST, _MOST = 24, 64
_OF_TENANT = b"celery-agents webhook\0"


def keys_of(secrets: str, tenant: str, *, named: str) -> list[bytes]:
    """The keys that sign for a tenant: of secrets with spaces between them, the newest first.

    Each tenant has keys of its own, which follow from the secret: else whoever is told of its own
    runs could send that on, signed, as if it were another's.

    Raises:
        ConfigurationError: one is no secret of a webhook.
    """
    keys = [_key(text, named) for text in secrets.split()]
    if not tenant:
        return keys
    return [hmac.digest(key, _OF_TENANT + tenant.encode(), "sha256") for key in keys]


def _key(text: str, named: str) -> bytes:
    wanted = f"whsec_ and base64 of {_LEAST} to {_MOST} bytes"
    wrong = ConfigurationError(f"{named} is no secret of webhooks: {wanted}.")
    try:
        key = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except ValueError:
        raise wrong from None
    if not (text.startswith(_PREFIX) and _LEAST <= len(key) <= _MOST):
        raise wrong
    return key


def as_secret(key: bytes) -> str:
    """A key as receivers are given it."""
    return _PREFIX + base64.b64encode(key).decode()


def signed(keys: list[bytes], message_id: str, at: int, body: bytes) -> dict[str, str]:
    """The headers of a message that is sent ``at`` seconds since 1970."""
    told = f"{message_id}.{at}.".encode() + body
    marks = [base64.b64encode(hmac.digest(key, told, hashlib.sha256)).decode() for key in keys]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(at),
        "webhook-signature": " ".join(f"v1,{mark}" for mark in marks),
    }
