"""Keys: ``ca_<id>_<secret>``. The secret is hashed as it comes in, and is nowhere after that."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping
from typing import Any

from app.access.permissions import Permission, Principal, Role

FORM = re.compile(r"ca_([0-9a-z]{8})_([A-Za-z0-9_-]{43})")
_LETTERS = "0123456789abcdefghijklmnopqrstuvwxyz"
PREFIX = "ca_"


def digest(secret: str) -> str:
    """The hash of a secret: of 32 random bytes, so a slow one would protect nothing more."""
    return hashlib.sha256(secret.encode()).hexdigest()


def new_key(
    name: str,
    role: Role,
    *,
    tenant: str | None,
    by: str,
    grants: Mapping[str, Any] | None = None,
) -> tuple[str, dict[str, Any]]:
    """A key, which is shown once, and its row."""
    key_id = "".join(secrets.choice(_LETTERS) for _ in range(8))
    secret = secrets.token_urlsafe(32)
    row = {
        "id": key_id,
        "hash": digest(secret),
        "name": name,
        "tenant": tenant,
        "role": role.value,
        "grants": dict(grants) if grants else None,
        "created_by": by,
    }
    return f"{PREFIX}{key_id}_{secret}", row


def successor(old: Mapping[str, Any], *, by: str) -> tuple[str, dict[str, Any]]:
    """A key that may do what that of a row may, and its own row."""
    about = {"tenant": old["tenant"], "by": by, "grants": old["grants"]}
    return new_key(old["name"], Role(old["role"]), **about)


def principal_of(row: Mapping[str, Any]) -> Principal:
    """Return the principal of the key of a row."""
    grants = row["grants"] or {}
    return Principal(
        id=row["id"],
        role=Role(row["role"]),
        tenant=row["tenant"],
        agents=None if grants.get("agents") is None else tuple(grants["agents"]),
        permissions=frozenset(Permission(p) for p in grants.get("permissions", ())),
        requests_per_s=grants.get("requests_per_s"),
        runs_per_s=grants.get("runs_per_s"),
        ends_at=row.get("expires_at"),
    )
