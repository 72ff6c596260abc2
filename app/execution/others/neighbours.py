"""Other apps on the broker: which workers serve a queue, and if their results can be read here.

They are asked by Celery's own remote-control commands, which every worker knows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from celery import Celery

#: Seconds for replies of workers nobody knows yet; of those that are known all are waited for.
PATIENCE_S = 1.0
_REDIS = {"redis", "rediss", "valkey", "valkeys"}
_LOOPBACK = {"localhost": "127.0.0.1", "::1": "127.0.0.1"}


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The workers of a queue, and what they say of themselves."""

    workers: tuple[str, ...] = ()
    #: Their tasks by worker, each as Celery writes it: ``name [ignore_result=True]``.
    registered: Mapping[str, Sequence[str]] = field(default_factory=dict)
    #: Their settings by worker, without defaults, passwords masked.
    conf: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def served(app: Celery) -> dict[str, set[str]]:
    """The queues that workers of any app consume, by worker; blocks for about a second."""
    told = app.control.inspect(timeout=PATIENCE_S).active_queues() or {}
    return {worker: {queue["name"] for queue in queues} for worker, queues in told.items()}


def look(app: Celery, queue: str) -> Neighbours:
    """Find the workers that serve a queue; blocks for about a second."""
    workers = tuple(worker for worker, queues in served(app).items() if queue in queues)
    if not workers:
        return Neighbours()
    these = _inspect(app, workers)
    return Neighbours(workers, these.registered("ignore_result") or {}, these.conf() or {})


def known_there(app: Celery, workers: Sequence[str], task_ids: Sequence[str]) -> set[str] | None:
    """Which of these tasks the workers have, running or waiting; None when not all answer."""
    told: dict[str, Any] = _inspect(app, workers).query_task(*task_ids) or {}
    if set(workers) - told.keys():
        return None
    return {task_id for tasks in told.values() for task_id in tasks}


def _inspect(app: Celery, workers: Sequence[str]) -> Any:
    return app.control.inspect(destination=[*workers], timeout=PATIENCE_S, limit=len(workers))


def complaint(task: str, results: str, found: Neighbours) -> str | None:
    """Why no result of this task can come here; None when nothing is known to be wrong.

    ``results`` is the URL where its results are looked for.
    """
    mine = [line for lines in found.registered.values() for line in _lines_of(task, lines)]
    if any(found.registered.values()) and not mine:
        return f"no worker of its queue ({', '.join(found.registered)}) has the task {task}"
    if any("ignore_result=True" in line for line in mine):
        return (
            f"{task} has ignore_result, so its result is kept nowhere; "
            "take that (or task_ignore_result) out of its app"
        )
    reasons = (_unreadable(conf, results) for conf in found.conf.values())
    return next((reason for reason in reasons if reason is not None), None)


def _lines_of(task: str, lines: Iterable[str]) -> list[str]:
    return [line for line in lines if line.split(" ", 1)[0] == task]


def _unreadable(conf: Mapping[str, Any], results: str) -> str | None:
    theirs = _setting(conf, "result_backend")
    if isinstance(theirs, str) and _elsewhere(theirs, results):
        shown = theirs.split("?")[0]
        return (
            f"its app keeps results in {shown}, not where they are looked for; "
            "name that as result_url of the agent's entry"
        )
    serializer = _setting(conf, "result_serializer")
    if serializer not in {None, "json"}:
        return f"its app writes results as {serializer}; result_serializer has to be json"
    options = _setting(conf, "result_backend_transport_options")
    if isinstance(options, dict) and options.get("global_keyprefix"):
        return "its app puts a global_keyprefix before its results' keys, which is not read"
    return None


def _setting(conf: Mapping[str, Any], name: str) -> Any:
    """A setting by its name, or by the name that it had before Celery 4."""
    return conf.get(name, conf.get(f"CELERY_{name.upper()}"))


def _elsewhere(theirs: str, ours: str) -> bool:
    """Return whether two result backends certainly differ. One server may have several names."""
    here, there = _Place.of(ours), _Place.of(theirs)
    if here.kind != there.kind:
        return True
    return here.kind == "redis" and here.server == there.server and here.database != there.database


@dataclass(frozen=True, slots=True)
class _Place:
    kind: str
    server: tuple[str, int]
    database: str

    @classmethod
    def of(cls, url: str) -> _Place:
        scheme, separator, _ = url.partition("://")
        if separator and ":" in scheme and "+" in scheme:  # a class of its own, before the URL
            url = url.partition("+")[2]
        parts = urlsplit(url if "://" in url else f"{url}://")
        kind = "redis" if parts.scheme in _REDIS else parts.scheme.partition("+")[0]
        host = parts.hostname or "127.0.0.1"
        try:
            port = parts.port or 6379
        except ValueError:  # several servers in one
            port = 0
        asked = parse_qs(parts.query).get("db", [""])[0]
        database = parts.path.strip("/") or asked or "0"
        return cls(kind, (_LOOPBACK.get(host, host), port), database)


def left(ids: Collection[str], messages: Iterable[bytes]) -> set[str]:
    """Which of these ids stand in none of these messages."""
    gone = set(ids)
    for message in messages:
        gone -= {i for i in gone if i.encode() in message}
    return gone
