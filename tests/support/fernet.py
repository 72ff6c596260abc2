"""Keys for encryption that are the same in each process of the tests, which name tests by them."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from hashlib import sha256


def fernet_key(name: str) -> str:
    """A key of this name."""
    return urlsafe_b64encode(sha256(name.encode()).digest()).decode()
