"""The client: ask agents from any Python program, with Celery and pydantic alone.

agents = Client("redis://localhost:6379/0")
run = agents.ask("gpt", "What is the capital of France?")
print(run.get(timeout=60))
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Self, Unpack

from celery import Celery, Signature

from celery_agents import names
from celery_agents.client.actors.actors import Actors
from celery_agents.client.budgets import Budgets
from celery_agents.client.bus.events import EventStore
from celery_agents.client.bus.topics import Topics
from celery_agents.client.caches import Cache
from celery_agents.client.connection import Connection
from celery_agents.client.control import Control
from celery_agents.client.dead_letters import DeadLetters
from celery_agents.client.earlier import EarlierNames
from celery_agents.client.evaluating.evaluate import EvaluateVerb
from celery_agents.client.flows.schedules import Schedules
from celery_agents.client.flows.streams import EntryStreams
from celery_agents.client.flows.verb import StartVerb
from celery_agents.client.flows.workflow import WorkflowVerb
from celery_agents.client.limits import Limits
from celery_agents.client.memory.memories import Memories
from celery_agents.client.options import EstimateOptions
from celery_agents.client.replicated.values import Replicas
from celery_agents.client.run import AggregateRun, DecisionRun, MapRun, Run
from celery_agents.client.runs import Runs
from celery_agents.client.sessions import Sessions
from celery_agents.client.swarms.swarm import SwarmVerb
from celery_agents.client.teams.solve import SolveVerb
from celery_agents.client.teams.team import TeamRun, TeamVerb
from celery_agents.client.verbs import AskVerb, FallbackVerb, GatherVerb, MapVerb, VoteVerb
from celery_agents.client.verdicts import Verdicts
from celery_agents.contracts.approval import Wish
from celery_agents.contracts.ask import Ask
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.gather import Gather
from celery_agents.contracts.governance import Estimate
from celery_agents.contracts.mapping import Map
from celery_agents.contracts.patterns import Fallback, Vote
from celery_agents.contracts.teams.team import Team
from celery_agents.contracts.tenants import TenantState
from celery_agents.contracts.vote import BALLOTS_MAX
from celery_agents.contracts.watching import Cluster, Grouping, Stats, StatsWanted
from celery_agents.wire.messages import Message

#: As the workers' own setting; above it a message is refused before it is sent.
PAYLOAD_LIMIT_BYTES = 256 * 1024


class Client(EarlierNames):
    """Enqueues runs and reads their results, over the Redis that the workers use.

    Its verbs (``ask``, ``fallback``, ``vote``, ``gather``, ``map``, ``solve``, ``team``) enqueue;
    ``swarm`` opens agents that belong together;
    ``runs`` and ``dead_letters`` have what is done with those that were enqueued, ``sessions`` what
    is done with the conversations that runs have added to, ``memory`` with what agents keep for
    later runs, ``events`` what has happened and who is told, ``topics`` what is told to
    whoever listens, ``actors`` what is told to objects that last, ``replicated`` values that
    several data centres change at once, ``schedules`` what starts when,
    ``limits`` how much may be asked, ``budgets`` how much may be spent, ``cache`` what answers are
    kept; ``evaluate`` measures agents on a dataset.

    Args:
        redis_url: broker and results; the environment's ``REDIS_URL`` when not given.
        queue: where the workers take steps from.
        result_url: when results are kept elsewhere.
        visibility_timeout_s: the workers' setting; it must be the same for one Redis.
        fernet_keys: the workers' keys, where they encrypt; by default those of the environment's
            ``AGENTS_FERNET_KEYS`` and ``AGENTS_FERNET_KEYS_FILE``. The first one encrypts.

    Raises:
        ConfigurationError: an address is none, or asks for what is not served.

    Each message is recorded in the same Redis transaction that enqueues it, so a worker that dies
    at the wrong moment does not lose it.
    """

    def __init__(
        self,
        redis_url: str | None = None,
        *,
        queue: str = names.QUEUE,
        result_url: str | None = None,
        visibility_timeout_s: int = 7200,
        payload_limit_bytes: int = PAYLOAD_LIMIT_BYTES,
        ballots_max: int = BALLOTS_MAX,
        redis_timeout_s: float = 5.0,
        fernet_keys: Sequence[str] | None = None,
    ) -> None:
        self._connection = connection = Connection(
            redis_url,
            queue=queue,
            result_url=result_url,
            visibility_timeout_s=visibility_timeout_s,
            payload_limit_bytes=payload_limit_bytes,
            ballots_max=ballots_max,
            redis_timeout_s=redis_timeout_s,
            fernet_keys=fernet_keys,
        )
        self.runs = Runs(connection)
        self._control = control = Control(connection, self.runs)
        self.dead_letters = DeadLetters(control)
        self.sessions = Sessions(control)
        self.streams = EntryStreams(control)
        self.schedules = Schedules(control, self.runs)
        self.limits = Limits(control)
        self.budgets = Budgets(control)
        ask = self.ask = AskVerb(connection, self.runs, names.ASK, Ask, Run)
        self.fallback = FallbackVerb(connection, self.runs, names.FALLBACK, Fallback, Run)
        self.vote = VoteVerb(connection, self.runs, names.VOTE, Vote, DecisionRun)
        self.gather = GatherVerb(connection, self.runs, names.GATHER, Gather, AggregateRun)
        self.map = MapVerb(connection, self.runs, names.MAP, Map, MapRun)
        self.map.control = control
        self.memory = Memories(control, self.map)
        self.verdicts = Verdicts(control)
        self.cache = Cache(control, self.runs, ask)
        self.start = StartVerb(connection, control, self.runs)
        self.fork = self.start.fork
        self.events = EventStore(control, self.start)
        self.on = self.events.on
        self.topics = Topics(self.events, control, ask, connection.address)
        self.actors = Actors(control, connection)
        self.replicated = Replicas(control)
        self.run = WorkflowVerb(connection, self.start)
        self.swarm = SwarmVerb(self.events, self.start, self.runs, control)
        self.solve = SolveVerb(connection, control, self.runs)
        self.team = TeamVerb(connection, self.runs, names.TEAM, Team, TeamRun)
        self.evaluate = EvaluateVerb(self)

    @property
    def celery(self) -> Celery:
        """The Celery app that sends, for canvases and signals."""
        return self._connection.celery

    @property
    def connection(self) -> Connection:
        """The connection by which its verbs send, for an :class:`Outbox` over the same."""
        return self._connection

    @property
    def queue(self) -> str:
        """The queue of the workers."""
        return self._connection.queue

    def publish(self, messages: Iterable[Message | Signature]) -> None:
        """Send messages, and signatures of any task, in few writes.

        Of many, the first ones are worked on while the others are still being made: give a
        generator.

        Raises:
            BrokerUnavailableError: some may have been delivered all the same.
            ConfigurationError: TLS with the broker is not possible, or its certificate is not
                trusted; nothing was sent.
        """
        self._connection.publish(messages)

    async def publish_async(self, messages: Sequence[Message]) -> None:
        """Send messages on the running event loop; raises as :meth:`publish`."""
        await self._connection.publish_async(messages)

    def waiting(self, *, limit: int = 100, timeout: float = 10.0) -> list[Wish]:
        """List what waits for a person, of all runs, oldest first; see :meth:`Runs.waiting`."""
        return self.runs.waiting(limit=limit, timeout=timeout)

    def estimate(
        self,
        agent: str,
        input: JsonValue = None,  # noqa: A002 - as callers write it
        *,
        timeout: float = 10.0,
        **options: Unpack[EstimateOptions],
    ) -> Estimate:
        """Estimate the tokens and the price of what an agent would be asked; nothing is asked.

        A worker does it. Of a turn with tools it is the first request.

        Raises:
            InvalidPayloadError: an option is wrong, or the agent is no model.
        """
        given = {name: value for name, value in options.items() if value is not None}
        request = Ask.from_message([input], {"agent": agent, **given})
        asked = self._control.ask(names.ESTIMATE, request.input, options=request.message_options())
        return Estimate.model_validate(asked.get(timeout=timeout))

    def tenants(self, *, timeout: float = 10.0) -> list[TenantState]:
        """List the tenants that have something queued or in flight, by queue; a worker looks."""
        found = self._control.ask(names.TENANTS).get(timeout=timeout)
        return [TenantState.model_validate(state) for state in found]

    def stats(
        self,
        since_s: float = 3_600.0,
        *,
        by: Grouping = "agent",
        agent: str | None = None,
        tenant: str | None = None,
        timeout: float = 10.0,
    ) -> Stats:
        """Statistics of the steps that ended in the last seconds: numbers, durations, cost.

        In whole minutes, of more than six hours in whole hours. A worker reads them.

        Raises:
            InvalidPayloadError: something of it is wrong.
        """
        given = {"since_s": since_s, "by": by, "agent": agent, "tenant": tenant}
        wanted = StatsWanted.of(given).model_dump(mode="json", exclude_none=True)
        found = self._control.ask(names.STATS, options=wanted).get(timeout=timeout)
        return Stats.model_validate(found)

    def cluster(self, *, timeout: float = 10.0) -> Cluster:
        """The service as a whole: workers, queues, how many steps wait for what."""
        return Cluster.model_validate(self._control.ask(names.CLUSTER).get(timeout=timeout))

    def close(self) -> None:
        """Close the connections."""
        self.runs.close()
        self.topics.close()
        self._connection.close()

    async def aclose(self) -> None:
        """Close the connections, those of the running event loop too."""
        await self._connection.aclose()
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
