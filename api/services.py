"""The parts of one process of the API."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from agents.catalog.loading import read_tables
from agents.catalog.panels import read_panels
from agents.catalog.tenants import read_tenants
from api.denials import Denials
from api.endings import Endings
from api.keys import USED_S, KeyRing
from api.limits import KeyRates
from api.mcp.flows import read_flows
from api.mcp.sealing.secrets import SharedSecrets
from api.mcp.waits.following import FollowedFlows
from api.openai.catalog import ModelCatalog
from api.problems import busy
from api.sending import Sending
from api.serving.threads import BoundedThreads
from api.under_way import OpenResponses
from app.access.permissions import Principal
from app.access.tokens import AccessTokens
from app.journal.replicated.store import ReplicatedStore
from app.journal.schema.engine import connect_as
from app.journal.stores.audit import AuditLog
from app.journal.stores.desk import Desk
from app.journal.stores.encryption import Encryption
from app.journal.stores.flows import FlowStore
from app.journal.stores.keys import ApiKeys
from app.journal.stores.memories import MemoryStore
from app.journal.stores.memos import Memos
from app.journal.stores.overview import Overview
from app.journal.stores.posted import PostedAgents
from app.journal.stores.schedules import ScheduleStore
from app.journal.stores.statistics import Statistics
from app.journal.stores.streams import StreamStore
from app.journal.stores.targets import Targets
from app.journal.tables.audit import Act
from app.settings import Settings
from app.telemetry.metrics import Metrics
from celery_agents.client.client import Client
from celery_agents.client.control import acting_as
from celery_agents.errors import AgentsError, ConfigurationError, JournalUnavailableError
from celery_agents.noted import noting

log = logging.getLogger(__name__)
T = TypeVar("T")

#: Threads that read the journal: no more than it has connections. And those that ask workers, for
#: some seconds each.
_READERS, _ASKERS = 8, 16
#: Calls that these have at a time, with those that wait for a thread; and the seconds after which
#: nobody waits for one any more. A worker is given ten to answer.
_READS, _READ_S = 2_000, 30.0
_ASKS, _ASK_S = 300, 60.0
#: Seconds after which somebody's first refusal is written down.
_DENIALS_S = 1.0
#: Seconds for which a transaction may stand still: a frozen process would hold up workers.
_IDLE_S = 10.0
#: Requests of one process that Redis answers at a time.
_CONNECTIONS = 16


class Services:
    """Opened and closed with the app, on its event loop."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.tokens = AccessTokens(settings)
        self._readers = BoundedThreads(
            _READERS, "api-journal", most=_READS, within_s=_READ_S, refusal=_no_journal
        )
        self._askers = BoundedThreads(
            _ASKERS, "api-workers", most=_ASKS, within_s=_ASK_S, refusal=_no_worker
        )
        engine = connect_as(settings, idle_s=_IDLE_S)
        self.desk = Desk(
            engine,
            wake_grace_s=settings.wake_grace_s,
            group_commit_max=settings.group_commit_max,
        )
        self.overview, self.targets = Overview(engine), Targets(engine)
        self.statistics = Statistics(engine)
        self.metrics, self.under_way = Metrics(), OpenResponses()
        self.keys = ApiKeys(engine)
        self.posted = PostedAgents(engine)
        self.flows, self.memories = FlowStore(engine), MemoryStore(engine)
        self.followed = FollowedFlows()
        self.schedules = ScheduleStore(engine, settings.wake_grace_s)
        self.streams, self.replicated = StreamStore(engine), ReplicatedStore(engine)
        self.audit = AuditLog(engine, settings.audit_anchor)
        self.denials = Denials(partial(self.read, self.audit.write))
        self.encryption = Encryption(engine)
        self.seals = SharedSecrets(Memos(engine), self.read, settings.fernet_secrets)
        self.ring = KeyRing(self.keys, self.read)
        #: Those of agents.toml.
        self.tenants = _tenants(settings.config)
        self.models = ModelCatalog(
            read_panels(settings.config), self._offered, flows=read_flows(settings.config)
        )
        self.client = Client(
            settings.redis_url.get_secret_value(),
            queue=settings.queue,
            visibility_timeout_s=settings.visibility_timeout_s,
            payload_limit_bytes=settings.payload_limit_bytes,
            ballots_max=settings.ballots_max,
            redis_timeout_s=settings.redis_timeout_s,
            fernet_keys=settings.fernet_secrets,
        )
        accepts = settings.api_accepts or ("journal" if self.desk.shared else "broker")
        self.journaled = accepts == "journal"

    def open(self) -> None:
        """Make what belongs to the running event loop; nothing is connected before its first use.

        Raises:
            ConfigurationError: sentinels name the Redis.
        """
        self.redis = self._redis(_CONNECTIONS)
        self.endings = Endings(self._redis(2), self.client.celery.backend)
        self.rates = KeyRates(self.redis)
        self.sending = Sending(
            self.client,
            self.desk,
            self.redis,
            self.read,
            journaled=self.journaled,
            backlog_max=self.settings.api_backlog_max,
        )
        loop = asyncio.get_running_loop()
        self._noting = [
            loop.create_task(_every(USED_S, self._note_used)),
            loop.create_task(_every(_DENIALS_S, self._note_denials)),
        ]

    async def check(self) -> None:
        """Look whether all keys are here that the journal's values need.

        Raises:
            ConfigurationError: one is missing.
        """
        text = "Whether all keys are here is not known: the journal is away"
        with noting(log, "api_encryption", text, JournalUnavailableError):
            await asyncio.to_thread(self.encryption.begin)  # it may look at all values

    async def close(self) -> None:
        """Finish what is under way, and close the connections."""
        for task in self._noting:
            task.cancel()
        await self.sending.close()
        await self.endings.close()
        await self._note_used()
        await self._note_denials(last=True)
        await self.redis.aclose()
        await self.client.aclose()
        self._readers.shutdown()
        self._askers.shutdown(cancel=True)
        self.desk.close()

    async def record(
        self, who: Principal, action: str, target: str, tenant: str = "", **data: Any
    ) -> None:
        """Write down what somebody is about to do.

        Raises:
            JournalUnavailableError: it cannot be written down, so it is not done.
        """
        await self.read(self.audit.record, Act(who.id, action, target, tenant, data))

    async def read(self, work: Callable[..., T], *args: Any) -> T:
        """Run a function that blocks on the journal.

        In the request's context: lines of the log name who asks.

        Raises:
            JournalUnavailableError: it does not answer.
        """
        return await self._readers.run(partial(copy_context().run, work, *args))

    async def ask(self, who: Principal, work: Callable[..., T], *args: Any, **options: Any) -> T:
        """Run a function that waits for a worker, which writes down who asks."""

        def ask() -> T:
            with acting_as(who.id, who.role):
                return work(*args, **options)

        return await self._askers.run(partial(copy_context().run, ask))

    async def _offered(self) -> list[dict[str, Any]]:
        return await self.read(self.posted.offered)

    def _redis(self, connections: int) -> Any:
        """A client whose requests wait for each other when all of its connections are in use."""
        from redis.asyncio import BlockingConnectionPool, Redis

        limit_s = self.settings.redis_timeout_s
        made = self.settings.broker.loop_client(
            socket_timeout=limit_s, socket_connect_timeout=min(2.0, limit_s)
        )
        if made is None:
            raise ConfigurationError("The API is not served behind sentinels: name the server.")
        known = made.connection_pool
        pool = BlockingConnectionPool(
            max_connections=connections,
            timeout=limit_s,
            connection_class=known.connection_class,
            **known.connection_kwargs,
        )
        return Redis.from_pool(pool)

    async def _note_used(self) -> None:
        with noting(log, "api_used", "When keys were used is not written down", AgentsError):
            await self.ring.note_used()

    async def _note_denials(self, *, last: bool = False) -> None:
        with noting(log, "api_denials", "Who was denied is not written down", AgentsError):
            await self.denials.flush(all_of_them=last)


def _no_journal() -> Exception:
    return JournalUnavailableError("The journal does not answer.")


def _no_worker() -> Exception:
    return busy("Workers do not answer, or too slowly for all who ask.", "result_timeout")


async def _every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(seconds)
        await work()


def _tenants(config: Path | None) -> frozenset[str]:
    if config is None:
        return frozenset()
    return frozenset(read_tenants(config, read_tables(config).get("tenants", {})))
