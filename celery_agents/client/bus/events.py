"""``agents.events``: streams as a store of events, and who is served with them."""

from __future__ import annotations

import builtins
from typing import Any, Literal

from celery import Signature

from celery_agents import names
from celery_agents.client.control import Control
from celery_agents.client.flows.described import described_run
from celery_agents.client.flows.streams import EntryStreams
from celery_agents.client.flows.verb import StartVerb
from celery_agents.contracts.base import name_of, tenant_of
from celery_agents.contracts.flows.entries import stream_of
from celery_agents.contracts.flows.subscriptions import (
    StreamLimits,
    StreamLimitsInfo,
    StreamSet,
    StreamState,
    SubscriptionInfo,
    SubscriptionRule,
    kind_of,
)
from celery_agents.errors import InvalidPayloadError


class EventStore(EntryStreams):
    """Appends events to streams, reads and follows them, and subscribes to them; a worker does it.

    Streams and subscriptions belong to a tenant; without one, to nobody in particular.
    """

    def __init__(self, control: Control, start: StartVerb) -> None:
        super().__init__(control)
        self._start = start

    def on(
        self,
        of: str,
        *,
        kind: str | None = None,
        start: str | None = None,
        run: Signature | None = None,
        key: str | None = None,
        take: str | None = None,
        priority: str | None = None,
        name: str | None = None,
        since: Literal["now", "start"] = "now",
        failures_max: int = 5,
        poison: Literal["skip", "stop"] = "skip",
        tenant: str = "",
        timeout: float = 10.0,
    ) -> SubscriptionInfo:
        """Start one run for each event of these streams, from now on; how that stands.

        The event is the run's input, as ``{"stream", "seq", "kind", "key", "data", "at",
        "run_id"}``. Said again under the same name it changes the subscription, which goes on where
        it stands: so it may be said with each deployment.

        Args:
            of: the streams, by their name or the beginning of their names: ``order/*``.
            kind: of which kind the events are; without it, of each.
            start: the flow that is started on each event.
            run: what is started in its place, as a signature without an input:
                ``agents.ask.s("shout")``.
            key: events of the same key start one run. A template: ``{data[id]}``.
            take: the part of the event that is the run's input: ``{data[body]}``; else all of it.
            priority: the part that is the run's priority: ``{data[priority]}``; else the usual one.
            name: under which the subscription is known; else made of the others.
            since: where a new one begins: with what comes now, or with the first event there is.
            failures_max: an event that starts no run after so many tries is a dead letter.
            poison: it is passed over then (``skip``), or nothing more is served (``stop``).
            tenant: whose streams they are, and whose the runs are.
            timeout: seconds to wait for a worker.

        Raises:
            InvalidPayloadError: a part of it is wrong.
        """
        if (start is None) == (run is None):
            raise InvalidPayloadError("on: one of start and run is needed.")
        streams, only = StreamSet.of(of), kind_of(kind)
        wanted = run if start is None else self._start.s(start)
        target = described_run(wanted, tenant)
        given = {"failures_max": failures_max, "poison": poison, "since": since}
        parts = {"key": key, "take": take, "priority": priority}
        rule = SubscriptionRule.read({**parts, **given}).compact()
        if name is None:
            what = start or target["kwargs"].get("agent") or target["task"]
            name = f"{streams.text} {only or 'each'}: {what}"
        about: dict[str, Any] = {"kind": only, "tenant": tenant_of(tenant)}
        told = (name_of(name), streams.text, target, rule)
        found = self._control.ask(names.ON, *told, options=about).get(timeout=timeout)
        return SubscriptionInfo.read(found)

    def off(self, name: str, *, tenant: str = "", timeout: float = 10.0) -> bool:
        """Delete a subscription; runs that it started stay. False when there was none."""
        return bool(self._said(names.OFF, name, tenant, timeout))

    def subscriptions(
        self, *, tenant: str = "", limit: int = 100, timeout: float = 10.0
    ) -> builtins.list[SubscriptionInfo]:
        """Subscriptions and projections in the order of their names, and how far they are."""
        asked = self._control.ask(names.SUBSCRIPTIONS, None, tenant_of(tenant), limit)
        return [SubscriptionInfo.read(one) for one in asked.get(timeout=timeout)]

    def subscription(
        self, name: str, *, tenant: str = "", timeout: float = 10.0
    ) -> SubscriptionInfo | None:
        """A subscription or projection; None when there is none of that name."""
        found: builtins.list[Any] = self._said(names.SUBSCRIPTIONS, name, tenant, timeout)
        return SubscriptionInfo.read(found[0]) if found else None

    def pause(self, name: str, *, tenant: str = "", timeout: float = 10.0) -> None:
        """Let a subscription serve nothing until it is resumed; it loses nothing meanwhile.

        Raises:
            InvalidPayloadError: there is none of that name.
        """
        self._said(names.PAUSE_SUBSCRIPTION, name, tenant, timeout)

    def resume(self, name: str, *, tenant: str = "", timeout: float = 10.0) -> None:
        """Let it go on where it stands. Raises as :meth:`pause`."""
        self._said(names.RESUME_SUBSCRIPTION, name, tenant, timeout)

    def rebuild(self, name: str, *, tenant: str = "", timeout: float = 10.0) -> None:
        """Have a projection begin anew: it is emptied, and given each entry from the first.

        Raises:
            InvalidPayloadError: there is none of that name.
        """
        self._said(names.REBUILD, name, tenant, timeout)

    def state(
        self, stream: str, reducer: str, *, tenant: str = "", timeout: float = 10.0
    ) -> StreamState:
        """The state that a reducer makes of a stream, up to its last entry now.

        Raises:
            InvalidPayloadError: there is no such reducer, it fails, or entries were trimmed that it
                needs.
        """
        about = (stream_of(stream), name_of(reducer, "reducer"), tenant_of(tenant))
        return StreamState.model_validate(self._control.ask(names.STATE, *about).get(timeout))

    def keep(
        self,
        of: str,
        *,
        seconds: float | None = None,
        size_bytes: int | None = None,
        tenant: str = "",
        timeout: float = 10.0,
    ) -> None:
        """Keep entries of these streams for so long, or so many bytes; with neither, for ever.

        What is beyond goes within a minute or so, whoever has read it. Who had not is told how
        many he has missed: a follower by an entry of the kind ``gap``, whose place is -1, people by
        a dead letter of the subscription.

        Raises:
            InvalidPayloadError: a part of it is wrong.
        """
        told = None
        if seconds is not None or size_bytes is not None:
            given = None if seconds is None else float(seconds)
            told = StreamLimits.read({"keep_s": given, "keep_bytes": size_bytes}).compact()
        about = (StreamSet.of(of).text, told, tenant_of(tenant))
        self._control.ask(names.KEEP, *about).get(timeout=timeout)

    def kept(self, *, tenant: str = "", timeout: float = 10.0) -> builtins.list[StreamLimitsInfo]:
        """The streams whose entries are trimmed, and how many were."""
        found = self._control.ask(names.KEPT, tenant_of(tenant)).get(timeout=timeout)
        return [StreamLimitsInfo.model_validate(one) for one in found]

    def _said(self, task: str, name: str, tenant: str, timeout: float) -> Any:
        return self._control.ask(task, name_of(name), tenant_of(tenant)).get(timeout=timeout)
