"""Tenants' messages at one consumer: what it holds of them, and for how long."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from app.concurrency.meter import Meter
from app.messaging.scripts import TransportScripts

#: Where tenants have messages, consumers say so many times a lease that they hold theirs.
TENDS_A_LEASE = 4
#: Once a plain producer's message has named a tenant, others are looked for in so many seconds.
SORTS_S = 60.0
#: What stands between a tag and whose message it is, if it counts for somebody (fairly.py).
OWNED = "\n"


class Metered(Protocol):
    """Has a meter of the seconds for which tenants use slots."""

    meter: Meter | None


class OfRequests:
    """The slots of a pool that says when it has begun a step: Celery's own ones."""

    meter: Meter | None = None


class Sharing:
    """How the consumers of a connection share slots: by weights of tenants, 1 where none is named.

    ``slots`` gets a meter once tenants have messages here; without, one is used as long as a
    message is held.
    """

    def __init__(
        self, weights: Mapping[str, float] | None = None, slots: Metered | None = None
    ) -> None:
        self.scripts = TransportScripts(weights or {})
        self.slots = slots


class Holdings:
    """The tenants' messages that one consumer holds."""

    def __init__(self) -> None:
        self.any = False  # whether tenants have had messages here
        self._held = Meter()
        #: Tags of messages that are held for later, with that time; and those not told of yet.
        self._later: dict[str, float] = {}
        self._untold: dict[str, float] = {}
        self._sorts_until = -math.inf

    @property
    def sorts(self) -> bool:
        """True while plain producers' messages are looked through for tenants."""
        return time.monotonic() < self._sorts_until

    def taken(self, tag: str, sharing: Sharing, due_at: float | None = None) -> None:
        """Note a message that counts for somebody, from a time on, in seconds since 1970."""
        self.any = True
        if sharing.slots is not None and sharing.slots.meter is None:
            sharing.slots.meter = Meter()
        if due_at is not None and due_at > time.time():
            self._later[tag] = self._untold[tag] = due_at
        else:
            self._held.begin(tag, _of(tag))

    def met_plain(self) -> None:
        """Note that a plain producer's message has named a tenant."""
        self._sorts_until = time.monotonic() + SORTS_S

    def ended(self, tag: str) -> None:
        """Note that a message is not held any more."""
        self._held.end(tag)
        self._later.pop(tag, None)
        self._untold.pop(tag, None)

    def tend(
        self, client: Any, index: str, sharing: Sharing, about: tuple[str, float, Sequence[str]]
    ) -> None:
        """Say that they are held, and have what is in flight counted anew.

        ``about``: the consumer, its lease in seconds, and its queues.
        """
        name, lease_s, queues = about
        now = time.time()
        for tag in [tag for tag, due_at in self._later.items() if due_at <= now]:
            del self._later[tag]
            self._held.begin(tag, _of(tag))
        later, self._untold = json.dumps([*self._untold.items()]), {}
        pause_ms = round(500 * lease_s / TENDS_A_LEASE)
        told = [name, lease_s, pause_ms, json.dumps(self._used(sharing.slots)), later, *queues]
        self.any = bool(client.register_script(sharing.scripts.tend)(keys=[index], args=told))

    def _used(self, slots: Metered | None) -> list[tuple[str, float]]:
        """The seconds of slots that tenants' messages have used by queue, since this was told.

        Those that the pool has measured of a tenant are its queues' as they had messages here.
        """
        held = self._held.drain()
        if slots is None or slots.meter is None:
            return [*held.items()]
        used, whole = slots.meter.drain(), dict[str, float]()
        for of, seconds in held.items():
            whole[_tenant(of)] = whole.get(_tenant(of), 0.0) + seconds
        return [
            (of, used.get(_tenant(of), 0.0) * seconds / whole[_tenant(of)])
            for of, seconds in held.items()
            if seconds
        ]


def _of(tag: str) -> str:
    """The queue and the tenant of a message, by its tag."""
    return tag.partition(OWNED)[2]


def _tenant(of: str) -> str:
    return of.rpartition(OWNED)[2]


def due_at(eta: object) -> float | None:
    """The time that a header ``eta`` says, in seconds since 1970; None: it says none."""
    try:
        told = datetime.fromisoformat(eta) if isinstance(eta, str) else None
    except ValueError:
        return None
    if told is None:
        return None
    return (told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp()
