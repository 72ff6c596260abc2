"""Subscriptions, for people and for whoever serves them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine

from app.journal.following import projections, runs, subscribed
from app.journal.following.projections import Page, Projecting
from app.journal.following.runs import RunsStarted, Starting
from app.journal.following.subscribed import Subscribed, SubscriptionKey
from app.journal.schema.engine import read_clock, reading
from app.journal.schema.rows import Wake
from app.journal.schema.transactions import in_transaction
from app.journal.steps import dead_letters
from celery_agents.contracts.flows.schedules import ScheduledRun


@dataclass(frozen=True, slots=True)
class SubscriptionStore:
    """The subscriptions of a journal."""

    engine: Engine

    def put(self, key: SubscriptionKey, wanted: Subscribed) -> None:
        """Make or change a subscription; see :func:`subscribed.put`."""
        in_transaction(self.engine, lambda c: subscribed.put(c, key, wanted))

    def pause(self, key: SubscriptionKey) -> None:
        """Serve nothing until it is resumed; see :func:`subscribed.pause`."""
        in_transaction(self.engine, lambda c: subscribed.pause(c, key))

    def resume(self, key: SubscriptionKey) -> None:
        """Go on; see :func:`subscribed.resume`."""
        in_transaction(self.engine, lambda c: subscribed.resume(c, key))

    def put_off(self, key: SubscriptionKey, why: str) -> None:
        """Serve it again after a while; see :func:`subscribed.put_off`."""
        in_transaction(self.engine, lambda c: subscribed.put_off(c, key, why))

    def delete(self, key: SubscriptionKey) -> bool:
        """Delete a subscription; returns whether there was one."""
        return in_transaction(self.engine, lambda c: subscribed.remove(c, key))

    def listed(self, tenant: str, name: str | None, limit: int) -> list[dict[str, Any]]:
        """Subscriptions of a tenant, or the one of a name, for people."""
        return in_transaction(
            reading(self.engine), lambda c: subscribed.listed(c, tenant, name, limit)
        )

    def target(self, key: SubscriptionKey) -> tuple[bool, ScheduledRun | None]:
        """Tell whether there is one, and the run that it starts; of a projection none."""
        return in_transaction(reading(self.engine), lambda c: subscribed.started_by(c, key))

    def due(
        self, serves: subscribed.Serves, limit: int, full: Collection[str] = ()
    ) -> list[SubscriptionKey]:
        """Subscriptions that have something to be served; see :func:`subscribed.due`."""
        return in_transaction(
            reading(self.engine), lambda c: subscribed.due(c, read_clock(c), serves, limit, full)
        )

    def serve(self, key: SubscriptionKey, serving: Starting) -> RunsStarted:
        """Start the runs of its next entries; see :func:`runs.serve`."""
        return in_transaction(self.engine, lambda c: runs.serve(c, key, serving))

    def register(self, key: SubscriptionKey, wanted: Subscribed) -> None:
        """Make a projection known; see :func:`projections.register`."""
        in_transaction(self.engine, lambda c: projections.register(c, key, wanted))

    def rebuild(self, key: SubscriptionKey) -> None:
        """Have a projection begin anew; see :func:`projections.rebuild`."""
        in_transaction(self.engine, lambda c: projections.rebuild(c, key))

    def project(self, key: SubscriptionKey, how: Projecting) -> Page:
        """Give a projection its next entries; see :func:`projections.project`."""
        return projections.project(self.engine, key, how)

    def start_again(
        self, key: SubscriptionKey, pos: int, serving: Starting, letter_id: str
    ) -> list[Wake]:
        """Start the run of an entry that was passed over, and drop its letter."""

        def again(connection: Any) -> list[Wake]:
            found = runs.start_again(connection, key, pos, serving)
            dead_letters.forget_message(connection, letter_id)
            return found

        return in_transaction(self.engine, again)
