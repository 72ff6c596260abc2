"""Permissions, and the roles that have them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any

from celery_agents.contracts.approval import CLIENT, exactly


class Permission(StrEnum):
    """Something that a route needs."""

    RUNS_CREATE = "runs:create"
    RUNS_READ = "runs:read"
    RUNS_CANCEL = "runs:cancel"
    RUNS_SIGNAL = "runs:signal"
    RUNS_APPROVE = "runs:approve"
    SESSIONS_READ = "sessions:read"
    SESSIONS_WRITE = "sessions:write"
    AGENTS_READ = "agents:read"
    AGENTS_WRITE = "agents:write"
    LETTERS_READ = "letters:read"
    LETTERS_WRITE = "letters:write"
    SCHEDULES_READ = "schedules:read"
    SCHEDULES_WRITE = "schedules:write"
    STREAMS_READ = "streams:read"
    STREAMS_WRITE = "streams:write"
    STREAMS_DELETE = "streams:delete"
    SUBSCRIPTIONS_WRITE = "subscriptions:write"
    STATS_READ = "stats:read"
    METRICS_READ = "metrics:read"
    AUDIT_READ = "audit:read"
    KEYS_READ = "keys:read"
    KEYS_WRITE = "keys:write"


class Role(StrEnum):
    """A set of permissions with a name."""

    ADMIN = "admin"
    USER = "user"
    READONLY = "readonly"
    SERVICE = "service"


_P = Permission
_READS = frozenset(
    {
        *(_P.RUNS_READ, _P.SESSIONS_READ, _P.AGENTS_READ, _P.LETTERS_READ),
        *(_P.SCHEDULES_READ, _P.STREAMS_READ, _P.STATS_READ),
    }
)
#: The permission table. A program has less than a person: it neither approves nor forgets,
#: and makes nothing that runs on when its key is revoked.
ROLES: Mapping[Role, frozenset[Permission]] = MappingProxyType(
    {
        Role.ADMIN: frozenset(Permission),
        Role.USER: _READS
        | {
            *(_P.RUNS_CREATE, _P.RUNS_CANCEL, _P.RUNS_SIGNAL, _P.RUNS_APPROVE),
            *(_P.SESSIONS_WRITE, _P.SCHEDULES_WRITE),
            *(_P.STREAMS_WRITE, _P.STREAMS_DELETE, _P.SUBSCRIPTIONS_WRITE),
        },
        Role.READONLY: _READS | {_P.METRICS_READ},
        Role.SERVICE: frozenset(
            {
                *(_P.RUNS_CREATE, _P.RUNS_READ, _P.RUNS_CANCEL, _P.RUNS_SIGNAL),
                *(_P.SESSIONS_READ, _P.AGENTS_READ, _P.STREAMS_READ, _P.STREAMS_WRITE),
            }
        ),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Somebody who asks, by a key or a token, which is not kept."""

    #: Of its key, or ``jwt:`` and the subject of its token.
    id: str
    role: Role
    #: None: all tenants.
    tenant: str | None = ""
    #: Patterns of names of agents (``gpt*``); None: all.
    agents: tuple[str, ...] | None = None
    #: Beside those of its role.
    permissions: frozenset[Permission] = field(default_factory=frozenset)
    #: Requests, and runs, of one second; None: any number.
    requests_per_s: int | None = None
    runs_per_s: int | None = None
    #: When its key or token ends, in seconds since 1970; None: never.
    ends_at: float | None = None

    def may(self, permission: Permission) -> bool:
        """Return whether it has the permission."""
        return permission in ROLES[self.role] or permission in self.permissions

    def may_ask(self, agent: str) -> bool:
        """Return whether it may ask an agent."""
        return self.agents is None or any(fnmatchcase(agent, p) for p in self.agents)

    def sees(self, tenant: str | None) -> bool:
        """Return whether what is of this tenant is its own."""
        return self.tenant is None or self.tenant == tenant


def to_answer(who: Principal, wish: Mapping[str, Any]) -> Permission:
    """The permission that somebody needs to answer what waits in a run.

    A tool's question to the program that called it is that program's, as its call was. All else is
    a decision on a run, and so is an answer in another's place; whom a wish asks by name, or by
    role, is looked at where it is written down.
    """
    own = exactly(who.id) in wish.get("by", ())
    return _P.RUNS_CREATE if wish.get("asks") == CLIENT and own else _P.RUNS_APPROVE


def named(tenant: str | None) -> str:
    """The name of a tenant in an audit: all of them are ``*``."""
    return "*" if tenant is None else tenant


#: Everybody on this machine, where ``api_auth`` is ``none``.
ANYBODY = Principal(id="none", role=Role.ADMIN, tenant=None)
