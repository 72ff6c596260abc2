"""``task-progress``: how far steps are, as events of Celery for Flower and other watchers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any, cast

from app.concurrency.batcher import Batches
from app.concurrency.fibers import arrival
from app.concurrency.future import Future
from app.messaging.producer import AgentsCelery
from celery_agents.contracts.base import JsonValue
from celery_agents.errors import redact
from celery_agents.noted import note
from celery_agents.redaction.cleaning import clean
from celery_agents.values import problem
from celery_agents.wire.shown import HIDDEN

log = logging.getLogger(__name__)

EVENT = "task-progress"
#: Fields that each of Celery's events has.
CELERYS = frozenset({"type", "uuid", "hostname", "pid", "clock", "utcoffset", "timestamp"})
#: A step waits no longer for its event to be sent; a broker that is away is not its business.
PATIENCE_S = 1.0
#: Events in one write.
_MOST = 100
_Event = tuple[str, dict[str, Any]]


class Progress:
    """Sends the progress of all steps of a process."""

    def __init__(self, app: AgentsCelery, hostname: str, *, hidden: bool = False) -> None:
        self._hidden = hidden  # texts, where what agents say is encrypted
        self._app = app
        self._hostname = hostname
        self._batches: Batches[_Event] = Batches("agents-progress", self._send, _MOST)
        self._under_way: dict[str, Future[None]] = {}

    def _told(self, fields: dict[str, JsonValue]) -> dict[str, JsonValue]:
        if self._hidden:
            return {
                k: v if isinstance(v, bool | int | float) else HIDDEN for k, v in fields.items()
            }
        return cast("dict[str, JsonValue]", clean(fields))

    async def tell(self, step_id: str, fields: Mapping[str, JsonValue]) -> None:
        """Send an event of a step, unless its last one is still on its way. Never raises."""
        if taken := fields.keys() & CELERYS:
            text = "A progress event goes without %s, which Celery's events have themselves"
            note(log, "progress_field", text, ", ".join(sorted(taken)))
        if step_id in self._under_way:
            note(log, "progress_late", "A progress event was left out: the broker is slow")
            return
        if (wrong := problem(dict(fields))) is not None:  # it would end whoever reads events
            note(log, "progress_value", "A progress event was not sent: %s", redact(wrong))
            return
        told = self._told({k: v for k, v in fields.items() if k not in CELERYS})
        sent = self._under_way[step_id] = self._batches.submit((step_id, told))
        sent.add_done_callback(lambda _: self._under_way.pop(step_id, None))
        try:
            async with asyncio.timeout(PATIENCE_S):
                await arrival(sent)
        except Exception as error:  # noqa: BLE001 - it fails no step
            note(log, "progress", "A progress event was not sent", error=error)

    def _send(self, events: Sequence[_Event]) -> list[Exception | None]:
        with self._app.events.default_dispatcher(hostname=self._hostname) as dispatcher:
            return [_sent(dispatcher, event) for event in events]


def _sent(dispatcher: Any, event: _Event) -> Exception | None:
    step_id, fields = event
    try:
        # Not ``send``, whose own parameters would be taken from the fields.
        dispatcher.publish(EVENT, {**fields, "uuid": step_id}, dispatcher.producer)
    except Exception as error:  # noqa: BLE001 - one that is no JSON spoils no other
        return error
    return None
