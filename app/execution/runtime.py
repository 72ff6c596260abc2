"""The state that steps of one worker process share: journal, loop, heartbeat, active steps."""

from __future__ import annotations

import logging
import math
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar, cast

from celery import Celery
from kombu.exceptions import OperationalError
from sqlalchemy import Engine

from app.concurrency.fibers import blocking
from app.concurrency.loop import Work, process_loop
from app.concurrency.per_process import PerProcess
from app.concurrency.watchdog import Watchdog
from app.execution.agents import Agents, load_registry
from app.execution.posted import Posted
from app.execution.publish import publish
from app.governance.lessons import SharedLessons
from app.journal import Journal
from app.journal.schema.engine import connect_as
from app.journal.schema.migrate import ensure_schema
from app.journal.schema.rows import Aftermath, Claimed
from app.journal.steps.caps import Caps
from app.journal.stores.audit import AuditLog
from app.journal.stores.encryption import Encryption
from app.journal.stores.posted import PostedAgents
from app.journal.tables.workers import Identity
from app.messaging.intake import Intake
from app.messaging.redis import connect_redis
from app.pool.slots import slots_of
from app.settings import Settings
from app.telemetry.metrics import Metrics
from app.watching.callers import Callers
from app.watching.progress import Progress
from app.watching.streams import Streams
from app.watching.tracing import tracing_of
from celery_agents.errors import AgentsError
from celery_agents.noted import note
from celery_agents.wire import cancelling

log = logging.getLogger(__name__)
T = TypeVar("T")

#: Seconds that what steps tell waits for Redis: their ends wait for it.
STREAM_S = 1.0


@dataclass(slots=True)
class Active:
    """A step under way in this process."""

    claim: Claimed | None = None  # None while it is being claimed
    work: Work[Any] | None = None  # what runs on the loop
    cancelled: bool = False
    lost: bool = False  # another worker has its lease, and goes on with it
    doubts: int = 0  # heartbeats in a row that did not find it in the journal

    def cancel(self) -> None:
        """Stop the work. It ends with asyncio.CancelledError at its next await."""
        self.cancelled = True
        if self.work is not None:
            self.work.cancel()


class Outage:
    """Notices when the database was away so long that leases of living workers ran out.

    All of them lapse then, and the first worker back must not take over the steps of the others:
    they get one more lease's time to come back. By the clock of this process, in seconds.
    """

    def __init__(
        self, lease_s: float, interval_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._lease_s = lease_s
        self._longest_s = lease_s - 2 * interval_s  # others' last beat may be older than ours
        self._clock = clock
        self._heard_at = clock()
        self._until = -math.inf

    def heard(self, *, alive: bool) -> None:
        """Note a heartbeat that reached the journal."""
        at = self._clock()
        if not alive or at - self._heard_at > self._longest_s:
            self._until = at + self._lease_s
        self._heard_at = at

    @property
    def lasts(self) -> bool:
        """True while it is under way, or while others may not have come back from it yet."""
        at = self._clock()
        return at < self._until or at - self._heard_at > self._longest_s


class Runtime:
    """Made once per worker process, after it was forked."""

    def __init__(self, app: Celery, name: str) -> None:
        self.app = app
        self.settings: Settings = app.agents_settings
        settings = self.settings
        registry = load_registry(
            app,
            settings,
            lambda about: SharedLessons(about, lambda: self.journal),
            lambda: self.journal.memos,
        )
        self.seals = settings.seals
        engine = _engine_of(settings)
        self.intake = Intake.connect(settings)
        self.journal = Journal(
            engine,
            Identity(name),
            decided=self._decided,
            lease_s=settings.lease_s,
            wake_grace_s=settings.wake_grace_s,
            group_commit_max=settings.group_commit_max,
            spread_limit_bytes=settings.spread_limit_bytes,
            caps=_caps(settings),
        )
        #: Where traces are told, if they are.
        self.tracing = tracing_of()
        self.callers = Callers(self.journal.parents.caller_of)
        self.audit = AuditLog(engine, settings.audit_anchor)
        self.agents = Agents(registry, self.journal, settings, partial(publish, app))
        self.posted = Posted(registry, lambda: PostedAgents(engine), settings, self._announce)
        #: What is counted for Prometheus; None: nobody asks this worker.
        self.metrics = Metrics([a.name for a in registry]) if settings.health_port else None
        self.loop = process_loop()
        self.active: dict[str, Active] = {}
        #: Claims ahead of their messages, which this process gives itself: until those begin.
        self.claimed: dict[str, Claimed] = {}
        self._resources: dict[Any, Any] = {}
        self._lock = threading.Lock()
        self._strays: set[tuple[str, int]] = set()
        self.outage = Outage(settings.lease_s, settings.heartbeat_interval_s)
        self._stopped, self._draining = threading.Event(), False
        #: Whether the journal took the last heartbeat, and all writes of steps since the one
        #: before: a full disk is read all the same, and what needs no more room is written.
        self.writes = True
        self._refusals = 0
        self.watchdog = Watchdog(self.loop, settings.lease_s, running=lambda: sorted(self.active))
        self.watchdog.start()
        self._heart = threading.Thread(target=self._beat, name="agents-heartbeat", daemon=True)
        self._heart.start()
        try:
            self._announce()
        except Exception:
            self.close()
            raise
        self.journal.open()

    def _announce(self) -> None:
        """Write down which agents are offered here, to which queues, and in how many slots."""
        queues = list(self.app.amqp.queues.consume_from)
        self.journal.announce(self.agents.described(), queues, slots_of(self.app))

    def _decided(self, task: str, payload: dict[str, Any], members: list[Any]) -> bool:
        return bool(self.app.tasks[task].decided(payload, members))

    def resource(self, key: type[T], make: Callable[[], T]) -> T:
        """Something made once per process by a layer above."""
        with self._lock:
            if key not in self._resources:
                self._resources[key] = make()
            return cast("T", self._resources[key])

    @property
    def progress(self) -> Progress:
        """Tells how far steps are."""
        me, hidden = self.journal.me.name, self.seals is not None
        return self.resource(Progress, lambda: Progress(self.app, me, hidden=hidden))

    @property
    def streams(self) -> Streams:
        """Tells those who asked what steps do."""
        return self.resource(
            Streams, lambda: Streams(connect_redis(self.settings, STREAM_S), self.seals)
        )

    @property
    def told(self) -> tuple[Metrics, int, bool]:
        """Numbers, steps that run, if the journal writes: what is told of this process."""
        running = sum(active.work is not None for active in list(self.active.values()))
        return self.metrics or Metrics(), running, self.writes

    @property
    def stopping(self) -> bool:
        """True when this process gives back the steps that still run."""
        return self._draining or self._stopped.is_set()

    def cancel_steps(self, step_ids: list[str]) -> None:
        """Stop those of these steps that run here."""
        for step_id in step_ids:
            active = self.active.get(step_id)
            if active is not None and active.claim is not None:
                active.cancel()

    def drain(self) -> None:
        """Give back what still runs, for another worker; steps that end by themselves may do so."""
        self._draining = True
        for active in list(self.active.values()):
            if active.work is not None:
                active.work.cancel()

    def follow(self, after: Aftermath) -> None:
        """Carry out the effects of a commit: wake other steps, stop running ones, count ends."""
        if after.ended and (metrics := self.metrics) is not None:
            for step in after.ended:
                metrics.ended(step.task, step.agent, step.outcome, root=step.is_root)
        publish(self.app, after.wakes)
        self.cancel_steps(after.cancels)
        elsewhere = [i for i in after.cancels if i not in self.active]
        if elsewhere:
            try:
                blocking(self._tell_others, elsewhere)
            except OperationalError as error:
                text = "Heartbeats will bring a cancellation, which was not told"
                note(log, "cancel_broadcast", text, error=error)

    def _tell_others(self, step_ids: list[str]) -> None:
        with self.app.pooled_producer() as producer:
            cancelling.tell(producer, {cancelling.STEPS: step_ids})

    def close(self) -> None:
        """Stop the heart, the loop and the journal; what still runs is given back."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        self.agents.close()
        try:
            self.loop.submit(self.agents.registry.aclose()).result(timeout=10)
        except Exception as error:  # noqa: BLE001 - it is noted
            text = "The agents were not closed cleanly"
            note(log, "agents_close", text, error=error, trace=True)
        self.watchdog.stop()
        try:
            self.loop.close()
        except TimeoutError:
            log.warning("Some work on the loop did not stop; it is given up")
        try:
            self.audit.close()
            self.journal.close()
        except AgentsError as error:
            note(log, "journal_close", "The journal was not closed cleanly", error=error)

    def _beat(self) -> None:
        while not self._stopped.wait(self.settings.heartbeat_interval_s):
            self._try_beat()

    def _try_beat(self) -> None:
        if self.watchdog.stalled:
            note(log, "heartbeat_stalled", "No heartbeat while the loop stands still")
            return
        written = False
        try:
            self._beat_once()
            written = True
        except AgentsError as error:
            note(log, "heartbeat", "Heartbeat missed", error=error)
        except Exception as error:  # noqa: BLE001 - it is noted
            note(log, "heartbeat_failed", "Heartbeat failed", error=error, trace=True)
        before, self._refusals = self._refusals, self.journal.refusals()
        self.writes = written and self._refusals == before

    def _beat_once(self) -> None:
        beat = self.journal.beat()
        self.outage.heard(alive=beat.alive)
        if not beat.alive:
            log.warning("The lease of this worker had been ended; it has a new one")
            self._announce()
        self.cancel_steps(beat.cancelled)
        self._drop_lost(beat.running)
        # A claim that was committed but whose answer was lost runs nowhere. Two beats in a row,
        # since a claim's commit precedes its entry in `active`.
        strays = {(i, token) for i, token in beat.running.items() if i not in self.active}
        # Claims ahead are taken away first: a message is in `active` before it looks for its own.
        lost, ahead = sorted(i for i, _ in strays & self._strays), self.claimed.pop
        if again := [i for i in lost if ahead(i, None) is not None or i not in self.active]:
            log.warning("Gave back %d claimed steps that do not run here", len(again))
            self.journal.give_back(again, beat.running)
        self._strays = strays
        self.posted.heard(beat.posted)

    def _drop_lost(self, running: dict[str, int]) -> None:
        """Stop steps whose lease another worker took: their outcome would be refused."""
        for step_id, active in list(self.active.items()):
            if active.claim is None:
                continue
            lost = running.get(step_id) != active.claim.token
            active.doubts = active.doubts + 1 if lost else 0
            if active.doubts > 1:
                active.lost = True
                active.cancel()


def runtime_of(app: Celery, name: str | None = None) -> Runtime:
    """This process's runtime, made on first use."""
    held: PerProcess[Runtime] = app.agents_runtime
    if held.value is not None:
        return held.value
    return held.get(lambda: Runtime(app, name or f"process-{os.getpid()}@{socket.gethostname()}"))


def close_runtime(app: Celery) -> None:
    """End this process's runtime, if it has one."""
    held: PerProcess[Runtime] | None = getattr(app, "agents_runtime", None)
    if held is not None and held.value is not None:
        held.value.close()
        held.drop()


def _engine_of(settings: Settings) -> Engine:
    """Open the journal's database, which has this version's tables then."""
    engine = connect_as(settings)
    ensure_schema(engine)
    Encryption(engine).begin()
    return engine


def _caps(settings: Settings) -> Caps:
    """The bounds of every team."""
    counts = settings.max_depth, settings.max_steps, settings.max_handoffs
    return Caps(*counts, settings.max_cost, settings.max_width)
