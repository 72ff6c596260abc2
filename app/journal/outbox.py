"""Runs that begin with the caller's own transaction, or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from celery import Signature
from sqlalchemy import Connection, select

from app.journal.schema.engine import read_clock
from app.journal.schema.models import Step, Uncounted, Untold, table
from app.journal.schema.new_steps import row_of
from app.journal.schema.rows import NewStep
from app.journal.schema.sealed import sealed_step
from app.journal.schema.upsert import insert_new
from app.journal.steps.inserts import insert_steps
from celery_agents import names
from celery_agents.client import connection as sending
from celery_agents.client.client import Client
from celery_agents.client.control import Control
from celery_agents.client.flows.verb import StartVerb
from celery_agents.client.run import AggregateRun, DecisionRun, MapRun, Run
from celery_agents.client.verbs import AskVerb, FallbackVerb, GatherVerb, MapVerb, VoteVerb
from celery_agents.contracts.ask import Ask
from celery_agents.contracts.gather import Gather
from celery_agents.contracts.mapping import Map
from celery_agents.contracts.patterns import Fallback, Vote
from celery_agents.contracts.verbs import REQUESTS
from celery_agents.errors import IdInUseError, InvalidPayloadError
from celery_agents.sealing import opened_payload
from celery_agents.wire.messages import Message, fingerprint

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


class Outbox:
    """Starts runs in a transaction of the caller's on the journal's database.

    It has the client's verbs. The row of a run is in the caller's commit, and workers start it
    within about a second of that; nothing is sent, and Redis may be away. Rolled back, it never
    was. The run's handle, and so its id, is there at once.

    Args:
        within: a session or connection of SQLAlchemy, whose transaction is the caller's.
        client: whose queue, limits and keys are used; by default that of the environment.
    """

    def __init__(self, within: Session | Connection, client: Client | None = None) -> None:
        client = client or Client()
        rows = _InTransaction(client.connection, within)
        runs = client.runs
        self.start = StartVerb(rows, Control(client.connection, runs), runs)
        self.ask = AskVerb(rows, runs, names.ASK, Ask, Run)
        self.fallback = FallbackVerb(rows, runs, names.FALLBACK, Fallback, Run)
        self.vote = VoteVerb(rows, runs, names.VOTE, Vote, DecisionRun)
        self.gather = GatherVerb(rows, runs, names.GATHER, Gather, AggregateRun)
        self.map = MapVerb(rows, runs, names.MAP, Map, MapRun)


class _InTransaction(sending.Connection):
    """Writes rows where a client's connection sends messages."""

    def __init__(self, client: sending.Connection, within: Session | Connection) -> None:
        # What it does not do itself it leaves to that one, with which it opens nothing anew.
        vars(self).update(vars(client))
        self._within = within

    def publish(self, messages: Iterable[Message | Signature]) -> None:
        """Write the rows of what messages would ask for.

        Raises:
            IdInUseError: something else was asked under one of their ids.
        """
        asked = [message for message in messages if isinstance(message, Message)]
        within = self._within
        connection = within if isinstance(within, Connection) else within.connection()
        at = read_clock(connection)
        steps = [sealed_step(self.seals, _row(message)) for message in asked]
        # Without a message they are wanted at once: recovery's next look finds them.
        made = insert_steps(connection, [row_of(step, at, 0.0) for step in steps])
        if made:
            _note(connection, sorted(made))
        for message in asked:
            if message.id not in made:
                self._refuse_other_row(connection, message)

    async def publish_async(self, messages: Sequence[Message]) -> None:
        """The same: the session or connection blocks, as in all that its owner does with it."""
        self.publish(messages)

    def refuse_other(self, message: Message) -> None:
        """Nothing yet: the row tells."""

    async def refuse_other_async(self, message: Message) -> None:
        """Nothing yet, too."""

    def _refuse_other_row(self, connection: Connection, message: Message) -> None:
        found = select(Step.task, Step.payload).where(Step.id == message.id)
        row = connection.execute(found).one()
        told = opened_payload(self.seals, row.payload, message.id)
        asked = fingerprint(row.task, told["args"], told["kwargs"], self.seals)
        if asked not in (message.known_as or {message.fingerprint}):
            raise IdInUseError.of(message.id)


def _row(message: Message) -> NewStep:
    """The row of what a message asks for."""
    if (request := REQUESTS.get(message.task)) is None:
        raise InvalidPayloadError(f"{message.task} is no verb.")
    asked = request.from_message(message.args, message.kwargs, known=True)
    return NewStep.of_message(asked, message)


def _note(connection: Connection, run_ids: Sequence[str]) -> None:
    """Have runs counted and told once they have ended, however late their commit comes.

    Who does that passes over runs in the order in which they began, some seconds behind, and would
    not see one whose transaction lasts longer (app/journal/tables/ended.py).
    """
    for held in (Uncounted, Untold):
        rows = [{"run_id": run_id} for run_id in run_ids]
        connection.execute(insert_new(connection, table(held)), rows)
