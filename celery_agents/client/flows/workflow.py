"""``agents.run(canvas)``: a Celery canvas, or a workflow as data, made durable."""

from __future__ import annotations

import copy
from typing import Any

from celery import Signature
from typing_extensions import Unpack

from celery_agents.client.connection import Connection
from celery_agents.client.flows.run import FlowRun
from celery_agents.client.flows.verb import StartVerb
from celery_agents.client.options import RunOptions
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.flows.workflow import WORKFLOW, Workflow
from celery_agents.contracts.verbs import REQUESTS
from celery_agents.sealing import CANVAS, opened_payload
from celery_agents.wire.durable import compiled
from celery_agents.wire.routing import name_queues


class WorkflowVerb:
    """Runs workflows. The ``id`` is the idempotency key: the same again is the same run."""

    def __init__(self, connection: Connection, start: StartVerb) -> None:
        self._connection = connection
        self._start = start

    def __call__(self, canvas: Signature | Workflow, **options: Unpack[RunOptions]) -> FlowRun:
        """Run ``chain(group(a.s(), b.s()), c.s())``, each of its tasks as a step that lasts.

        Tasks are agents (``agents.ask.s``), patterns, flows, and tasks of any app on the broker.

        Raises:
            InvalidPayloadError: a part of it cannot be made durable.
        """
        return self._start(WORKFLOW, self._told(canvas), **options)

    async def aio(self, canvas: Signature | Workflow, **options: Unpack[RunOptions]) -> FlowRun:
        """As the call, without blocking the running event loop."""
        return await self._start.aio(WORKFLOW, self._told(canvas), **options)

    def _told(self, canvas: Signature | Workflow) -> JsonValue:
        if not isinstance(canvas, Workflow):
            canvas = copy.deepcopy(canvas)  # queues are named in it
            name_queues(canvas, self._connection.celery)
            canvas = compiled(canvas, self._opened)
        return canvas.compact()

    def _opened(self, signature: Any) -> dict[str, Any]:
        """A signature of ours whose arguments can be read, where they are encrypted."""
        if signature["task"] not in REQUESTS:
            return dict(signature)
        payload = {"args": signature["args"], "kwargs": signature["kwargs"]}
        return {**signature, **opened_payload(self._connection.seals, payload, CANVAS)}
