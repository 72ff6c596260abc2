"""The parts of one process of the API."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from agents.catalog.panels import read_panels
from api.endings import Endings
from api.keys import USED_S, KeyRing
from api.limits import KeyRates
from api.openai.catalog import ModelCatalog
from api.sending import Sending
from api.under_way import OpenResponses
from app.access.tokens import AccessTokens
from app.journal.schema.engine import connect
from app.journal.stores.audit import AuditLog
from app.journal.stores.desk import Desk
from app.journal.stores.encryption import Encryption
from app.journal.stores.keys import ApiKeys
from app.journal.stores.overview import Overview
from app.journal.stores.posted import PostedAgents
from app.journal.stores.targets import Targets
from app.journal.tables.audit import Act
from app.settings import Settings
from app.telemetry.metrics import Metrics
from celery_agents.client.client import Client
from celery_agents.errors import AgentsError, ConfigurationError, JournalUnavailableError
from celery_agents.noted import noting

log = logging.getLogger(__name__)
T = TypeVar("T")

#: Threads that read the journal: no more than it has connections. And those that ask workers, for
#: some seconds each.
_READERS, _ASKERS = 8, 16
#: Requests of one process that Redis answers at a time.
_CONNECTIONS = 16


class Services:
    """Opened and closed with the app, on its event loop."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.tokens = AccessTokens(settings)
        self._readers = ThreadPoolExecutor(_READERS, "api-journal")
        self._askers = ThreadPoolExecutor(_ASKERS, "api-workers")
        url, timeout_s = settings.database_url.get_secret_value(), settings.database_timeout_s
        engine = connect(url, timeout_s=timeout_s, seals=settings.seals)
        self.desk = Desk(
            engine,
            wake_grace_s=settings.wake_grace_s,
            group_commit_max=settings.group_commit_max,
        )
        self.overview, self.targets = Overview(engine), Targets(engine)
        self.metrics, self.under_way = Metrics(), OpenResponses()
        self.keys = ApiKeys(engine)
        self.posted = PostedAgents(engine)
        self._audit = AuditLog(engine, settings.audit_anchor)
        self.encryption = Encryption(engine)
        self.ring = KeyRing(self.keys, self.read)
        self.models = ModelCatalog(read_panels(settings.config), self._offered)
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
        self._noting = asyncio.get_running_loop().create_task(self._note_used())

    async def check(self) -> None:
        """Look whether all keys are here that the journal's values need.

        Raises:
            ConfigurationError: one is missing.
        """
        text = "Whether all keys are here is not known: the journal is away"
        with noting(log, "api_encryption", text, JournalUnavailableError):
            await self.read(self.encryption.begin)

    async def close(self) -> None:
        """Finish what is under way, and close the connections."""
        self._noting.cancel()
        await self.sending.close()
        await self.endings.close()
        await self._note()
        await self.redis.aclose()
        await self.client.aclose()
        self._readers.shutdown()
        self._askers.shutdown(cancel_futures=True)
        self.desk.close()

    def record(self, act: Act) -> None:
        """Write down what is about to be done.

        Raises:
            JournalUnavailableError: it cannot be written down, so it is not done.
        """
        self._audit.write([act])

    async def read(self, work: Callable[..., T], *args: Any) -> T:
        """Run a function that blocks on the journal."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, partial(work, *args))

    async def ask(self, work: Callable[..., T], *args: Any, **options: Any) -> T:
        """Run a function that waits for a worker."""
        return await asyncio.get_running_loop().run_in_executor(
            self._askers, partial(work, *args, **options)
        )

    async def _offered(self) -> list[dict[str, Any]]:
        agents, _ = await self.read(self.desk.agents)
        return agents

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
        while True:
            await asyncio.sleep(USED_S)
            await self._note()

    async def _note(self) -> None:
        with noting(log, "api_used", "When keys were used is not written down", AgentsError):
            await self.ring.note_used()
