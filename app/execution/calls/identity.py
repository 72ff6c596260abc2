"""Identities of calls: the same in each attempt, whatever else the code asks."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from hashlib import sha256

from celery_agents.errors import AgentFailedError

#: The journal's columns for a call.
NAME_MAX, _FINGERPRINT_MAX = 200, 64
#: Hexadecimal digits of an identity: of the call itself, and of the one that it stands in. A step
#: has thousands of calls at the most, of which 64 bits tell each apart.
_OWN, _WITHIN = 32, 16


#: The identity of the call that it stands in, if it does; its name; its fingerprint.
About = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class CallId:
    """One call of an attempt."""

    seq: int  # its place in the attempt
    name: str
    identity: str  # the same in each attempt
    key: str  # for whoever is asked: of the identity

    @classmethod
    def of(cls, step_id: str, seq: int, about: About, before: int) -> CallId:
        """The call that is about this, of which the attempt has made ``before`` already."""
        within, name, _ = about
        own = digest_of("\0".join(about))[:_OWN]
        place = f"{digest_of(within)[:_WITHIN]}/" if within else ""
        identity = f"{place}{own}.{before}"
        key = uuid.uuid5(uuid.NAMESPACE_OID, f"{step_id}/{identity}")
        return cls(seq, name, identity, str(key))


#: The step whose call is being performed here, and the call's identity.
_enclosing: ContextVar[tuple[str, str]] = ContextVar("enclosing_call", default=("", ""))


@contextmanager
def within(step_id: str, identity: str) -> Iterator[None]:
    token = _enclosing.set((step_id, identity))
    try:
        yield
    finally:
        _enclosing.reset(token)


def enclosing(step_id: str) -> str:
    """The identity of the call of a step in which the code stands; empty outside of its calls."""
    of, identity = _enclosing.get()
    return identity if of == step_id else ""


def place_in(identity: str) -> str:
    """The beginning of the identities of calls that stand within this one."""
    return digest_of(identity)[:_WITHIN]


def digest_of(text: str) -> str:
    """The digest by which identities tell things apart, in hexadecimal."""
    return sha256(text.encode()).hexdigest()


def check(name: str, fingerprint: str) -> None:
    """Check what a call is known by.

    Raises:
        AgentFailedError: the journal has no room for it, or it is no line of text.
    """
    fits = 0 < len(name) <= NAME_MAX and len(fingerprint) <= _FINGERPRINT_MAX
    if not (fits and name.isprintable() and fingerprint.isprintable()):
        raise AgentFailedError(
            f"A call's name is a line of at most {NAME_MAX} characters, its fingerprint one of "
            f"{_FINGERPRINT_MAX}: give a digest."
        )
