"""Tenants' messages at one consumer: what it holds of them, and for how long."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
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
        self._sorts_until = -math.inf

    @property
    def sorts(self) -> bool:
        """True while plain producers' messages are looked through for tenants."""
        return time.monotonic() < self._sorts_until

    def taken(self, tag: str, sharing: Sharing) -> None:
        """Note a message that counts for somebody."""
        self.any = True
        if sharing.slots is not None and sharing.slots.meter is None:
            sharing.slots.meter = Meter()
        self._held.begin(tag, tag.rpartition(OWNED)[2])

    def met_plain(self) -> None:
        """Note that a plain producer's message has named a tenant."""
        self._sorts_until = time.monotonic() + SORTS_S

    def ended(self, tag: str) -> None:
        """Note that a message is not held any more."""
        self._held.end(tag)

    def tend(
        self, client: Any, index: str, sharing: Sharing, about: tuple[str, float, Sequence[str]]
    ) -> None:
        """Say that they are held, and have what is in flight counted anew.

        ``about``: the consumer, its lease in seconds, and its queues.
        """
        name, lease_s, queues = about
        slots = sharing.slots
        used = {} if slots is None or slots.meter is None else slots.meter.drain()
        held = self._held.drain()
        uses = [[t, used.get(t, 0.0), seconds] for t, seconds in held.items()] if used else []
        pause_ms = round(500 * lease_s / TENDS_A_LEASE)
        told = [name, lease_s, pause_ms, json.dumps(uses), *queues]
        self.any = bool(client.register_script(sharing.scripts.tend)(keys=[index], args=told))
