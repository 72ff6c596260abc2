"""``agents.start(flow, input)``: a flow is started."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from celery import Signature
from typing_extensions import Unpack

from celery_agents import names
from celery_agents.client.connection import Connection
from celery_agents.client.control import Control
from celery_agents.client.flows.run import FlowRun
from celery_agents.client.options import RunOptions
from celery_agents.client.run import Reader, Run
from celery_agents.client.verb import Verb
from celery_agents.contracts.base import JsonValue, id_of, name_of
from celery_agents.contracts.flows.flow import Flow
from celery_agents.contracts.flows.history import SignalReply
from celery_agents.wire.messages import Message

#: For a worker to say of which flow a run is.
_TIMEOUT_S = 10.0


class StartOptions(RunOptions, total=False):
    """Options of ``start``; see :class:`Flow`."""

    version: int | None


class StartVerb(Verb[FlowRun]):
    """Starts flows. The ``id`` is the idempotency key: the same again is the same run."""

    def __init__(self, connection: Connection, control: Control, reader: Reader) -> None:
        super().__init__(connection, reader, names.FLOW, Flow, FlowRun)
        self._control = control

    def __call__(
        self,
        flow: str,
        input: JsonValue = None,  # noqa: A002 - as callers write it
        **options: Unpack[StartOptions],
    ) -> FlowRun:
        """Start a flow."""
        return self._enqueue(input, {**options, "flow": flow})

    def many(
        self, flow: str, inputs: Iterable[JsonValue], **options: Unpack[StartOptions]
    ) -> list[FlowRun]:
        """Start a flow on each of many inputs."""
        return self._enqueue_many(inputs, {**options, "flow": flow})

    async def aio(
        self,
        flow: str,
        input: JsonValue = None,  # noqa: A002 - as callers write it
        **options: Unpack[StartOptions],
    ) -> FlowRun:
        """As the call, without blocking the running event loop."""
        return await self._enqueue_async(input, {**options, "flow": flow})

    async def aio_many(
        self, flow: str, inputs: Iterable[JsonValue], **options: Unpack[StartOptions]
    ) -> list[FlowRun]:
        """As ``many``, without blocking the running event loop."""
        return await self._enqueue_many_async(inputs, {**options, "flow": flow})

    def s(self, flow: str, *input: JsonValue, **options: Unpack[StartOptions]) -> Signature:  # noqa: A002 - as callers write it
        """A signature; in a chain the previous result is the input."""
        return self._signature(input, {**options, "flow": flow})

    def fork(
        self, run: FlowRun | str, after: str | None = None, **options: Unpack[StartOptions]
    ) -> FlowRun:
        """Begin a run with the history of another one up to a command, and go on from there.

        ``after`` is the key of a command: what was asked before its end is not asked again.
        Without it the fork begins at the first failure, and takes over all that succeeded. With
        ``version`` other code goes on.

        Raises:
            InvalidPayloadError: there is no such flow, or no such command in its history.
        """
        known = self.origin(run, after)
        told = {"tenant": known["tenant"] or None, **options}
        fork = {"of": run if isinstance(run, str) else run.id, "after": after}
        return self._enqueue(None, {**told, "flow": known["flow"], "fork": fork})

    def origin(self, run: FlowRun | str, after: str | None = None) -> dict[str, Any]:
        """Which flow a run is of, and whose, if it can be forked there. Raises as above."""
        of = id_of(run if isinstance(run, str) else run.id)
        key = None if after is None else name_of(after, "after")
        found: dict[str, Any] = self._control.ask(names.ORIGIN, of, key).get(timeout=_TIMEOUT_S)
        return found

    def handle(self, run_id: str) -> FlowRun:
        """The handle of a flow that was started before. Nothing is looked up."""
        return self._made(FlowRun(self._reader, id_of(run_id)))

    def tell(
        self, run_id: str, name: str, value: JsonValue, key: str, tenant: str
    ) -> Run[SignalReply]:
        """Signal a flow of a tenant without waiting; that of another one's is ``unknown``."""
        about, whose = (id_of(run_id), name, value, key), {"tenant": tenant}
        return self._control.ask(names.SIGNAL, *about, recorded=True, options={**whose})

    def _runs(self, messages: Iterable[Message], answer: Any) -> list[FlowRun]:
        return [self._made(run) for run in super()._runs(messages, answer)]

    def _made(self, run: FlowRun) -> FlowRun:
        run.control = self._control
        return run
