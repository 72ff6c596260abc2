"""The workers' transport: kombu's for Redis, mended so that it loses and ends on no message.

kombu takes a message with BRPOP and writes it to *unacked* in a second step; a worker killed in
between loses it. Here one script does both. Waiting is apart from taking: an idle worker blocks on
a wake, which our producers set with each task (``celery_agents.transport``); it also looks every
``poll_interval_s``, for messages of plain producers and for lost wakes. So whatever happens to a
worker, a message stands either in its queue or in *unacked*.

The keys of *unacked* are our own: another app's workers on the same Redis, with a shorter
``visibility_timeout``, would run our steps again. Of ``queue_order_strategy`` only round robin is
served; key prefixes and Cluster are not.

A queue has two lists for each priority: the second one is for messages that the service sends many
of at once, a large map's members above all. Workers take from both in turn, so that a run of
somebody else does not wait behind thousands of members, nor they behind a stream of runs.
"""

from __future__ import annotations

import json
import logging
import math
import time
from functools import lru_cache
from queue import Empty
from typing import Any

from kombu.transport import virtual
from kombu.transport.redis import QoS as RedisQoS
from kombu.utils.json import dumps, loads
from kombu.utils.uuid import uuid
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ReadOnlyError, ResponseError

from app.messaging import scripts
from app.messaging.envelope import MalformedError, read_envelope
from app.messaging.scripts import TransportScripts
from app.messaging.sharing import OWNED, TENDS_A_LEASE, Holdings, Sharing, due_at
from celery_agents import names
from celery_agents.errors import ConfigurationError, redact
from celery_agents.noted import note, noting
from celery_agents.packed import exchange
from celery_agents.transport import BULK_STEPS, PRIORITY_STEPS, Envelope
from celery_agents.transport import Channel as RecordingChannel
from celery_agents.transport import Transport as RecordingTransport

log = logging.getLogger(__name__)

#: Messages that one script takes at the most, if there are as many free slots. Above this the round
#: trip no longer counts, and the script would hold Redis up.
TAKE_MAX = 64
#: Acknowledgements are gathered for so long: a lone step's need not hold up the next one. A worker
#: that dies meanwhile lets these messages come again, for rows that ended.
ACKS_S = 0.02
#: What a Redis refused that is full, or may not write, is asked for again after so long.
REFUSED_S = 1.0
#: Overdue messages that one sweep gives back.
RESTORE_MAX = 100
#: First bytes of an oversized message that are kept, for people to recognise it.
OVERSIZED_KEPT_BYTES = 4096
#: How a server that becomes a replica answers those that wait on it.
_UNBLOCKED = "UNBLOCKED"


class QoS(RedisQoS):
    """Messages that this channel has taken. They are in *unacked* before they come here."""

    _next_sweep = 0.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._client: Any = None
        self._acked: list[str] = []
        self._recorded: list[str] = []
        self._owned: list[str] = []

    def append(self, message: Any, delivery_tag: str) -> None:
        """Note a message as taken."""
        virtual.QoS.append(self, message, delivery_tag)

    def reserve(self, tags: list[str]) -> None:
        """Register messages before they are delivered, so that closing gives them back too."""
        for tag in tags:
            self._quick_append(tag, None)

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge; under an event loop together with all others of ``ACKS_S``."""
        if OWNED in delivery_tag:
            self._owned.append(delivery_tag)
            self.channel.holdings.ended(delivery_tag)
        else:
            self._acked.append(delivery_tag)
        if (step_id := _record_of(self._delivered.get(delivery_tag))) is not None:
            self._recorded.append(step_id)
        self._quick_ack(delivery_tag)
        if not self.channel.closed:  # else its messages were given back
            self.channel.connection.ack_soon(self)

    def write_acks(self) -> None:
        """Remove acknowledged messages from *unacked* and the intake: they have rows, or no use."""
        if not (self._acked or self._owned):
            return
        tags, self._acked = self._acked, []
        owned, self._owned = self._owned, []
        ids, self._recorded = self._recorded, []
        try:
            self._remove(tags, ids, owned)
        except BaseException:  # with the next ones, or when the channel is closed
            self._acked[:0], self._recorded[:0], self._owned[:0] = tags, ids, owned
            raise

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Drop a message or, with ``requeue``, give it back to its queue."""
        self.channel.holdings.ended(delivery_tag)
        if requeue:
            self.restore_by_tag(delivery_tag, leftmost=True)
        elif OWNED in delivery_tag:
            self._remove([], [], [delivery_tag])
        else:
            self._remove([delivery_tag], [], [])
        self._quick_ack(delivery_tag)

    def _remove(self, tags: list[str], ids: list[str], owned: list[str]) -> None:
        # The entry first: an index without entry is cleared by the next sweep, and not run.
        if self._client is None:  # its connections are the channel's; making one costs a quarter
            self._client = self.channel._create_client()  # noqa: SLF001 - its own QoS
        commands: list[tuple[Any, ...]] = []
        if tags:
            commands += ("HDEL", self.unacked_key, *tags), ("ZREM", self.unacked_index_key, *tags)
        script, keys = self.channel.scripts, (self.unacked_key, self.unacked_index_key)
        for start in range(0, len(owned), TAKE_MAX):
            told = owned[start : start + TAKE_MAX]
            commands.append(("EVALSHA", script.acknowledge_sha, 2, *keys, *told))
        if ids:
            commands += ("HDEL", names.INTAKE_RECORDS, *ids), ("ZREM", names.INTAKE_TIMES, *ids)
        answers = exchange(self._client, commands)
        if any(isinstance(answer, NoScriptError) for answer in answers):  # a new or restarted Redis
            whole = ("EVAL", script.acknowledge)  # all of it may be done twice
            commands = [(*whole, *c[2:]) if c[0] == "EVALSHA" else c for c in commands]
            answers = exchange(self._client, commands)
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer

    def restore_visible(self, *_: Any, **__: Any) -> None:
        """Give back what was taken before ``visibility_timeout`` and not acknowledged since."""
        if time.monotonic() < self._next_sweep:
            return
        self._next_sweep = time.monotonic() + self.channel.unacked_restore_interval / 2
        with self.channel.conn_or_acquire() as client:
            overdue = client.register_script(scripts.OVERDUE)(
                keys=[self.unacked_index_key], args=[self.visibility_timeout, RESTORE_MAX]
            )
            for tag in overdue:
                self.restore_by_tag(tag.decode(), client=client)

    def restore_by_tag(self, tag: str, client: Any = None, leftmost: bool = False) -> None:
        """Give a message back to its queue, marked as delivered before."""
        with self.channel.conn_or_acquire(client) as connected:
            entry = connected.hget(self.unacked_key, tag) or b""
            key, _, raw = entry.partition(b"\n")
            queue = key.decode().split(self.channel.sep, 1)[0]
            connected.register_script(self.channel.scripts.give_back)(
                keys=[self.unacked_key, self.unacked_index_key, key, names.WAKE + queue],
                args=[tag, _redelivered(raw), "LPUSH" if leftmost else "RPUSH"],
            )


def _record_of(message: Any) -> str | None:
    """The id of the intake record that a message came with; a command's is its task's to clear."""
    headers = getattr(message, "headers", None) or {}
    if headers.get(names.INTAKE) and headers.get("task") not in names.CONTROL_TASKS:
        return str(headers["id"])
    return None


def _redelivered(raw: bytes) -> bytes | str:
    """The message with the mark of a second delivery; unchanged when it cannot be read."""
    try:
        message = loads(raw)
        message["headers"]["redelivered"] = True
        message["properties"]["delivery_info"]["redelivered"] = True
        marked: str = dumps(message)
    except Exception as error:  # noqa: BLE001 - whatever JSON's hooks raise
        note(log, "redelivery", "A message cannot be marked as delivered again", error=error)
        return raw
    return marked


def _refusals(of: RecordingChannel | RecordingTransport) -> tuple[type[Exception], ...]:
    """Errors of a broker that is away, or takes no writes."""
    return (*of.connection_errors, ResponseError)


class GuardedChannel(RecordingChannel):
    """Keeps from the worker what cannot be read, as dead letters, and what Redis refuses."""

    unacked_key = names.UNACKED
    unacked_index_key = names.UNACKED_TIMES
    message_limit_bytes = 4 * 1024 * 1024
    dead_letters_max = 50_000

    @property
    def scripts(self) -> TransportScripts:
        """The scripts for what tenants weigh here."""
        return self.connection.sharing.scripts  # type: ignore[no-any-return]  # kombu has no types

    @property
    def _letter_keys(self) -> tuple[str, ...]:
        dead = (names.DEAD, names.DEAD_TIMES, names.DEAD_DROPPED)
        return (self.unacked_key, self.unacked_index_key, *dead)

    def maybe_refresh_binding_expiry(self) -> None:
        """As kombu's, which logs a traceback each second for as long as Redis is full."""
        with noting(log, "bindings", "Bindings of queues are renewed later", ResponseError):
            super().maybe_refresh_binding_expiry()

    def _delete(self, queue: str, *args: Any, **kwargs: Any) -> None:
        """As kombu's; a queue of events that cannot be deleted keeps no channel from its end."""
        try:
            super()._delete(queue, *args, **kwargs)
        except _refusals(self) as error:
            if not self._closing:
                raise
            note(log, "deleted", "A queue of events stays behind", error=error)

    def bury(self, tag: str, cause: str, reason: str, **about: str | None) -> None:
        """Move a taken message to the dead letters; see :mod:`app.maintenance.dead_letters`."""
        reason = redact(reason)
        log.error("A message is a dead letter (%s): %s", cause, reason)
        head = json.dumps({"cause": cause, "reason": reason, "at": time.time(), **about})
        with self.conn_or_acquire() as client:
            client.register_script(self.scripts.bury)(
                keys=list(self._letter_keys), args=[tag, head, self.dead_letters_max]
            )
        self.qos._quick_ack(tag)  # noqa: SLF001 - its own QoS

    def _deliver_fanout_message(self, message: Any, exchange: str) -> bool:
        """A broadcast reaches each worker and is kept by none: a malformed one is dropped."""
        try:
            read_envelope(dumps(message).encode(), self.message_limit_bytes)
        except MalformedError as error:
            note(log, "broadcast", "A broadcast was dropped (%s)", error.cause, error=error)
            return False
        return bool(super()._deliver_fanout_message(message, exchange))


class Channel(GuardedChannel):
    """Takes messages by script, guards the worker against malformed ones."""

    QoS = QoS
    poll_interval_s = 0.25
    from_transport_options = (
        *RecordingChannel.from_transport_options,
        "message_limit_bytes",
        "dead_letters_max",
        "poll_interval_s",
        "lease_s",
    )
    lease_s = 6.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._tags = uuid()
        self._takes = 0
        self._room = 1
        self._idle = False
        self._asked: tuple[str, list[str]] = ("", [])
        self._no_ack: set[str] = set()
        self.holdings = Holdings()
        super().__init__(*args, **kwargs)
        if self.global_keyprefix:
            raise ConfigurationError("The workers' transport does not serve global_keyprefix.")

    def basic_consume(self, queue: str, no_ack: bool, *args: Any, **kwargs: Any) -> Any:
        """As kombu's; remember whether messages of the queue are acknowledged."""
        (self._no_ack.add if no_ack else self._no_ack.discard)(queue)
        return super().basic_consume(queue, no_ack, *args, **kwargs)

    def tend(self) -> None:
        """Say that tenants' messages are held here, and have what is in flight counted anew."""
        if self.holdings.any:
            about = self._tags, self.lease_s, [*self.active_queues]
            with self.conn_or_acquire() as client:
                self.holdings.tend(client, self.unacked_index_key, self.connection.sharing, about)

    # -- taking

    def _brpop_start(self, timeout: float | None = None) -> None:
        """Send the next command on the polled connection: a take, or a wait after an empty one."""
        queues = self._queue_cycle.consume(len(self.active_queues))
        if self._no_ack.issuperset(queues):  # replies to commands: nothing to keep until an ack
            self._asked = "BRPOP", queues
            super()._brpop_start(timeout)
            return
        connection = self.client.connection
        self._in_poll = connection
        self._brpop_sent_at = time.monotonic()
        if self._idle:
            self._asked = "BZPOPMIN", queues
            wakes = [names.WAKE + queue for queue in queues]
            connection.send_command("BZPOPMIN", *wakes, self.poll_interval_s)
            return
        self._asked = "EVALSHA", queues
        self._send_take(queues)

    def _send_take(self, queues: list[str]) -> None:
        credit = self.qos.can_consume_max_estimate()
        self._room = min(self._room, TAKE_MAX if credit is None else max(credit, 1))
        keys, args = self._take_arguments(queues, self._room)
        self.client.connection.send_command(
            "EVALSHA", self.scripts.take_sha, len(keys), *keys, *args
        )

    def _brpop_read(self, **options: Any) -> bool:
        command, queues = self._asked
        if command == "BRPOP":
            return bool(super()._brpop_read(**options))
        self._idle = False
        reply = self._read_reply(command)
        if command == "BZPOPMIN":  # woken or not: look
            self.qos.restore_visible()
            reply = self._take_now(queues)
        if reply is None:
            raise Empty
        taken = list(zip(reply[::3], reply[1::3], reply[2::3], strict=True))
        # The script sets a wake when it leaves messages; so after a single one just wait for it.
        self._idle = not taken or self._room == 1
        # One at a time after a pause, so that other idle workers get theirs; more under load.
        self._room = min(2 * self._room, TAKE_MAX) if len(taken) == self._room else 1
        if not taken:
            raise Empty
        self._deliver_all([(tag.decode(), queues[turn], raw) for tag, turn, raw in taken])
        return True

    def _take_now(self, queues: list[str]) -> Any:
        """Take right after a wake: a turn of the event loop in between costs more than it."""
        try:
            self._send_take(queues)
        except self.connection_errors:
            self.client.connection.disconnect()
            raise
        return self._read_reply("EVALSHA")

    def _read_reply(self, command: str) -> Any:
        connection = self.client.connection
        try:
            return self.client.parse_response(connection, command)
        except NoScriptError:  # a new or restarted Redis
            with self.conn_or_acquire() as client:
                client.script_load(self.scripts.take)
            return None
        except ResponseError as error:  # a failover: the next connection goes to who took over
            if not (isinstance(error, ReadOnlyError) or str(error).startswith(_UNBLOCKED)):
                raise
            connection.disconnect()
            raise RedisConnectionError(f"The server was demoted: {error}") from error
        except self.connection_errors:
            connection.disconnect()
            raise
        finally:
            self._in_poll = None
            self._flush_brpop_reauth()

    def _take_arguments(self, queues: list[str], room: int) -> tuple[list[str], list[Any]]:
        self._takes += 1
        keys = [*self._letter_keys, *_sources(tuple(queues))]
        limits = (self.message_limit_bytes, OVERSIZED_KEPT_BYTES, self.dead_letters_max)
        turn = self._takes % 2 * len(queues)  # with room for one, each kind of list comes first
        sorts = int(self.holdings.sorts)
        return keys, [room, f"{self._tags}.{self._takes}.", len(queues), *limits, turn, sorts]

    def _key(self, queue: str, message: Envelope) -> str:
        steps = BULK_STEPS if message["headers"].get(names.BULK) else PRIORITY_STEPS
        return _list(queue, steps[self._get_message_priority(message, reverse=False)])

    def _get(self, queue: str) -> dict[str, Any]:
        """One message by direct access (``basic_get``)."""
        while True:
            keys, args = self._take_arguments([queue], 1)
            with self.conn_or_acquire() as client:
                taken = client.register_script(self.scripts.take)(keys=keys, args=args)
            if not taken:
                raise Empty
            message = self._guarded(taken[0].decode(), taken[2])
            if message is not None:
                return message

    # -- handing over

    def _deliver_all(self, taken: list[tuple[str, str, bytes]]) -> None:
        self.qos.reserve([tag for tag, _, _ in taken])
        failed: Exception | None = None
        for tag, queue, raw in taken:
            try:
                self._deliver_taken(tag, queue, raw)
            except Exception as error:
                log.exception("A message was not delivered; the rest of those taken are")
                failed = failed or error
        if failed is not None:
            raise failed

    def _deliver_taken(self, tag: str, queue: str, raw: bytes) -> None:
        self._queue_cycle.rotate(queue)
        message = self._guarded(tag, raw)
        if message is None:
            return
        callback = self.connection._callbacks.get(queue)  # noqa: SLF001 - kombu's own place
        if callback is None:  # its consumer was cancelled after the take was sent
            self.qos.reject(tag, requeue=True)
            return
        if queue in self._no_ack:
            self.qos.ack(tag)
        callback(message)

    def _guarded(self, tag: str, raw: bytes) -> dict[str, Any] | None:
        try:
            message = read_envelope(raw, self.message_limit_bytes)
        except MalformedError as error:
            self.bury(tag, error.cause, str(error))
            return None
        message["properties"]["delivery_tag"] = tag  # a copy of a message has a tag of its own
        if OWNED in tag:
            self.holdings.taken(tag, self.connection.sharing, due_at(message["headers"].get("eta")))
        elif message["headers"].get(names.TENANT):  # a plain producer's, which knows no such lists
            self.holdings.met_plain()
        return message

    def close(self) -> None:
        """Write the last acknowledgements and close, once: a lost connection closes twice."""
        if self.closed:
            return
        # A broker that is away keeps the messages; their rows have ended.
        with noting(log, "last_acks", "The last acknowledgements went", *_refusals(self)):
            self.qos.write_acks()
        if self._in_poll and self._asked[0] == "BZPOPMIN":  # only a wake could be lost with it
            self._in_poll.disconnect()
        super().close()


@lru_cache(maxsize=128)
def _sources(queues: tuple[str, ...]) -> tuple[str, ...]:
    """Queues' keys of wakes, then their lists in the order in which they are taken from."""
    pairs = zip(PRIORITY_STEPS, BULK_STEPS, strict=True)
    lists = (_list(queue, step) for steps in pairs for step in steps for queue in queues)
    return (*(names.WAKE + queue for queue in queues), *lists)


def _list(queue: str, step: int) -> str:
    return f"{queue}{Channel.sep}{step}" if step else queue


def _tick() -> None:
    """Wakes the event loop, whose ticks write acknowledgements."""


class Transport(RecordingTransport):
    """``broker_transport`` of the workers."""

    Channel = Channel
    _loop: Any = None
    _acks_due = math.inf
    _next_tend = 0.0
    sharing = Sharing()

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """As kombu's; acknowledgements are written at the loop's ticks."""
        super().register_with_event_loop(connection, loop)
        self._loop = loop
        loop.on_tick.add(self._write_acks)
        loop.call_repeatedly(self._tend_s, self._tend)

    def ack_soon(self, qos: QoS, after_s: float = ACKS_S) -> None:
        """Have what was acknowledged written: now, or at a tick soon, if there are ticks."""
        if self._loop is None:
            qos.write_acks()
        elif math.isinf(self._acks_due):
            self._acks_due = time.monotonic() + after_s
            self._loop.call_later(after_s, _tick)

    def _write_acks(self) -> None:
        if time.monotonic() < self._acks_due:
            return
        self._acks_due = math.inf
        for channel in self.channels or ():
            try:
                channel.qos.write_acks()
            except _refusals(self) as error:
                note(log, "acks", "Messages are not acknowledged yet", error=error)
                refused = isinstance(error, ResponseError)
                self.ack_soon(channel.qos, REFUSED_S if refused else ACKS_S)

    @property
    def _tend_s(self) -> float:
        lease_s: float = self.client.transport_options.get("lease_s", Channel.lease_s)
        return lease_s / TENDS_A_LEASE

    def _tend(self) -> None:
        for channel in self.channels or ():
            try:
                channel.tend()
            except _refusals(self) as error:
                note(log, "tenants", "Tenants' messages are counted later", error=error)

    def drain_events(self, connection: Any, timeout: float | None = None) -> Any:
        """Without an event loop there is no timer: a busy consumer looks for overdue ones here."""
        self.cycle.maybe_restore_messages()
        if time.monotonic() >= self._next_tend:
            self._next_tend = time.monotonic() + self._tend_s
            self._tend()
        return super().drain_events(connection, timeout=timeout)
