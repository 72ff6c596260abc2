"""The client's result backend: Celery's for Redis, which listens for a result once it is awaited.

Celery's own subscribes to the result before it sends the message, one round trip for each, and
with Redis away it tries that for twenty seconds.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from threading import Lock
from typing import Any

from celery import states
from celery.backends.redis import RedisBackend
from kombu.exceptions import DecodeError

from celery_agents.address import RedisAddress
from celery_agents.errors import UnreadableValueError
from celery_agents.redis_url import is_redis, read_redis_url
from celery_agents.sealing import RESULT, Seals, opened

#: Of an address: Celery gives these to pools by itself.
_PLACE = frozenset({"host", "port", "db", "username", "password"})
#: Of the process that this one was forked from: not to be closed here.
_LEFT: list[Any] = []
#: How a result is written, and what stands in JSON that only kombu reads.
_JSON, _TYPED = "application/json", b"__type__"


class AddressBackend(RedisBackend):
    """Celery's for Redis, at the address that was read when its app was configured."""

    @property
    def address(self) -> RedisAddress | None:
        """None in an app that does not know: then Celery reads a URL."""
        return getattr(self.app, "results_address", None)

    @property
    def seals(self) -> Seals | None:
        """The seals of its results; None in an app that knows of none."""
        return getattr(self.app, "seals", None)

    def decode(self, payload: Any) -> Any:
        """As Celery's; what is encrypted is opened, and an error where it cannot be."""
        return opened_result(self.seals, super().decode(payload))

    def get_key_for_task(self, task_id: Any, key: Any = "") -> bytes:
        """As Celery's, with less work for what nearly every id is: who waits makes many."""
        if type(task_id) is str and task_id and not key:
            prefix: bytes = self.task_keyprefix
            return prefix + task_id.encode()
        other: bytes = super().get_key_for_task(task_id, key)
        return other

    def _params_from_url(self, url: str, defaults: dict[str, Any]) -> dict[str, Any]:
        if self.address is None:
            read: dict[str, Any] = super()._params_from_url(url, defaults)
            return read
        return self.address.parameters(**{k: v for k, v in defaults.items() if k not in _PLACE})

    def _get_pool(self, **params: Any) -> Any:
        return super()._get_pool(**params) if self.address is None else self.address.pool(params)


class ResultBackend(AddressBackend):
    """Used by :class:`celery_agents.Client`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.forget_client()
        super().__init__(*args, **kwargs)

    def forget_client(self) -> None:
        """Leave its connections to the process that this one was forked from."""
        self._client: Any = None
        self._opening = Lock()
        if (consumer := getattr(self, "result_consumer", None)) is not None:
            # What it has subscribed to is the other process's, and so are those who wait for it.
            _LEFT.append(consumer._pubsub)  # noqa: SLF001
            consumer._pubsub = None  # noqa: SLF001
            consumer.subscribed_to.clear()
            consumer._reset_sync()  # noqa: SLF001 - locks that another thread may have had
            for waiting in self._pending_results:
                waiting.clear()

    @property
    def client(self) -> Any:
        """Its client of redis-py, the same one for all threads; Celery's may be made by two."""
        if (found := self._client) is not None:
            return found
        with self._opening:
            if self._client is None:
                self._client = self._create_client(**self.connparams)
            return self._client

    def close(self) -> None:
        """Close the connections that nobody uses, and the rest as they are given back."""
        self.result_consumer.stop()
        with self._opening:
            client, self._client = self._client, None
        if client is not None:
            _close(client.connection_pool)

    def on_task_call(self, producer: Any, task_id: str) -> None:
        """Nothing yet: ``get`` subscribes, and looks whether the result is there already."""

    def decode(self, payload: Any) -> Any:
        """As Celery's; a result that looks like a type which kombu does not know stays as it is."""
        if (plain := self._plain(payload)) is not None:
            return opened_result(self.seals, plain)
        try:
            return super().decode(payload)
        except DecodeError:
            return opened_result(self.seals, json.loads(payload))

    def _plain(self, payload: Any) -> Any:
        """A payload read as JSON, where it has no types of kombu's in it, as nearly all; else None.

        Kombu makes a decoder for each, and asks in Python about each object in it.
        """
        if type(payload) is bytes and payload[:1] == b"{" and _TYPED not in payload:
            with suppress(ValueError):
                return json.loads(payload.decode()) if self.content_type == _JSON else None
        return None

    def known(self, task_id: str) -> dict[str, Any]:
        """Return what is stored of a task, by one look; empty when nothing is."""
        raw = self.client.get(self.get_key_for_task(task_id))
        return {} if raw is None else self.decode_result(raw)

    def ended(self, stored: Iterable[bytes | None]) -> dict[str, dict[str, Any]]:
        """Return what is stored of tasks that ended, by their ids; the others are left out."""
        metas = [self.decode_result(raw) for raw in stored if raw is not None]
        return {m["task_id"]: m for m in metas if m["status"] in states.READY_STATES}


def _close(pool: Any) -> None:
    """Close what nobody uses of a pool of redis-py; the rest as it is given back."""
    give_back = pool.release

    def release(connection: Any) -> None:
        connection.disconnect()
        give_back(connection)

    pool.release = release
    pool.disconnect(inuse_connections=False)


def opened_result(seals: Seals | None, meta: Any) -> Any:
    """The stored state of a task, its result opened; one that cannot be opened is an error."""
    if type(meta) is not dict or not isinstance(meta.get("result"), dict):
        return meta
    try:
        return meta | {"result": opened(seals, meta["result"], meta.get("task_id", ""), RESULT)}
    except UnreadableValueError as error:
        kind = type(error)
        told = {"exc_type": kind.__name__, "exc_module": kind.__module__}
        failed = {"status": states.FAILURE, "result": told | {"exc_message": [error.message]}}
        return {**{n: v for n, v in meta.items() if n != "outcome"}, **failed}


def results_address(url: str | None, broker: RedisAddress) -> RedisAddress | None:
    """Where a client's results are: beside its queues, or at ``url``; None if that is no Redis.

    Raises:
        ConfigurationError: it begins like the address of a Redis, and is none.
    """
    if url is None:
        return broker
    return read_redis_url(url, "result_url") if is_redis(url) else None


def backend_url(address: RedisAddress) -> str:
    """Celery's setting for the client's results in that Redis."""
    return f"{__name__}:{ResultBackend.__name__}+{address.broker_url}"
