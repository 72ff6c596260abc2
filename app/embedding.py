"""The service inside another Celery app: one worker serves that app's tasks and the agents'."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, TypeVar, cast

from celery import Celery
from kombu import Exchange, Queue
from pydantic import SecretStr

from app import environment
from app.celeryconfig import BACKEND, CONSUMER, TRANSPORT, celery_config
from app.factory import serve
from app.messaging.json_codec import register_json
from app.messaging.producer import Serving
from app.settings import Settings
from celery_agents import names
from celery_agents.address import RedisAddress
from celery_agents.errors import ConfigurationError
from celery_agents.redis_url import is_redis, read_redis_url

A = TypeVar("A", bound=Celery)

#: Settings of the service's own app that are taken over where the other app has Celery's default:
#: they say how a worker takes messages, starts, ends and outlives an outage. Those that change what
#: the app's own tasks, producers and beat do are not among them.
_WORKER = (
    "worker_prefetch_multiplier",
    "worker_disable_prefetch",
    "worker_proc_alive_timeout",
    "worker_soft_shutdown_timeout",
    "broker_connection_retry_on_startup",
    "broker_connection_max_retries",
    "broker_channel_error_retry",
    "result_backend_always_retry",
    "result_backend_max_retries",
    "redis_socket_timeout",
    "redis_socket_connect_timeout",
    "redis_socket_keepalive",
    "redis_retry_on_timeout",
)


class Embedded(Serving):
    """The app of somebody else: it is configured as they say, and then for the agents too."""

    agents_given: Settings | None

    @cached_property
    def agents_settings(self) -> Settings:  # type: ignore[override]  # made when it is first read
        """Those of the environment or of ``install``, with the broker of the app.

        Raises:
            ConfigurationError: that is no Redis.
        """
        broker_url = self.conf.broker_url  # reads the configuration, and with it these
        if (made := self.__dict__.get("agents_settings")) is not None:
            return cast("Settings", made)
        environment.mount(os.environ)
        settings = self.agents_given or Settings()
        if not broker_url:
            return settings
        _check_redis("broker_url", broker_url, "Set a redis:// address")
        return Settings(**{**settings.model_dump(), "redis_url": SecretStr(broker_url)})

    def _load_config(self) -> Any:
        conf = super()._load_config()
        self.embed(conf)
        return conf

    def embed(self, conf: Any) -> None:
        """Configure it for the agents too."""
        settings = self.agents_settings
        self.broker_address = settings.broker
        self.results_address = _results(conf) or settings.broker
        self.seals = settings.seals
        _extend(conf, celery_config(settings), self.results_address)


def install(app: A, settings: Settings | None = None) -> A:
    """Add the agents' tasks, transport, pool and journal to a Celery app, and give it back.

    Called where the app is made. It connects to nothing, and leaves it to the app when its
    configuration is read. The app's ``broker_url`` is the agents' one; all else is of ``settings``,
    by default those of the environment. Where the app is configured with a broker or a result
    backend that does not suit, that raises a ConfigurationError.

    Raises:
        ConfigurationError: the app serves the agents already.
    """
    if isinstance(app, Serving):
        raise ConfigurationError(f"{app.main!r} serves the agents already.")
    register_json()
    # The app stays the same object, for whoever has it: its own class goes below ours.
    app.__class__ = type(f"Embedded{type(app).__name__}", (Embedded, type(app)), {})
    embedded = cast("Embedded", app)
    embedded.agents_given = settings
    embedded.hold()
    serve(embedded)
    if app.configured:
        embedded.embed(app.conf)
    return app


def _extend(conf: Any, ours: dict[str, Any], results: RedisAddress) -> None:
    """Bring what the agents need into the configuration of another app."""
    conf.update({key: ours[key] for key in _WORKER if conf[key] == _default(conf, key)})
    conf.update(
        broker_url=ours["broker_url"],
        broker_transport=TRANSPORT,
        broker_transport_options={
            **conf.broker_transport_options,
            **ours["broker_transport_options"],
        },
        worker_consumer=CONSUMER,
        result_backend=f"{BACKEND}+{results.broker_url}",
        accept_content=sorted({*conf.accept_content, "json"}),
        include=[*conf.include, *ours["include"]],
        task_queues=_queues(conf, ours["task_queues"]),
        task_routes=_routes(conf.task_routes, ours["task_default_queue"]),
        beat_schedule={**conf.beat_schedule, **ours["beat_schedule"]},
    )


def _default(conf: Any, key: str) -> Any:
    """Celery's own, which stands below all that an app was given."""
    return conf.maps[-1].get(key)


def _results(conf: Any) -> RedisAddress | None:
    """Where the app keeps its results; None: nowhere yet."""
    if conf.result_serializer != "json":
        raise ConfigurationError(
            f"result_serializer is {conf.result_serializer!r}; agents' results are JSON. Set it "
            "to 'json', or run the agents in a worker of their own."
        )
    if not (url := conf.result_backend):
        return None
    _check_redis("result_backend", url, "Leave it out (then it is the broker)")
    return read_redis_url(url, "result_backend")


def _check_redis(setting: str, url: Any, way: str) -> None:
    if not isinstance(url, str) or not is_redis(url):
        raise ConfigurationError(
            f"{setting} is no Redis, which the agents need. {way}, or run the agents in a worker "
            "of their own: celery -A celery_agents.service worker."
        )


def _queues(conf: Any, ours: Sequence[Queue]) -> list[Queue]:
    """The app's queues, or its default one, and the agents'."""
    name = conf.task_default_queue
    exchange = Exchange(conf.task_default_exchange or name)
    default = Queue(name, exchange, routing_key=conf.task_default_routing_key or name)
    theirs: Any = conf.task_queues or [default]
    if isinstance(theirs, Mapping):
        theirs = [
            Queue.from_dict(name, **{"routing_key": name, **options})
            for name, options in theirs.items()
        ]
    known = {queue.name for queue in theirs}
    return [*theirs, *(queue for queue in ours if queue.name not in known)]


def _routes(theirs: Any, queue: str) -> list[Any]:
    """The agents' tasks to their queues, whatever the app's own routes say of others."""
    ours = {task: {"queue": queue} for task in names.STEP_TASKS}
    ours |= {task: {"queue": names.CONTROL_QUEUE} for task in names.CONTROL_TASKS}
    return [ours, *(theirs if isinstance(theirs, (list, tuple)) else [theirs] if theirs else [])]
