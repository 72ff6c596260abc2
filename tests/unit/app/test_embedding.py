from __future__ import annotations

import logging
import os
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from kombu import Queue

from app.embedding import install
from app.factory import AgentsService
from app.messaging.results import JournalBackend
from app.messaging.transport import Transport
from app.settings import Settings
from celery_agents.errors import ConfigurationError
from tests.support.apart import apart
from tests.support.plugged import folder

HERE = "redis://127.0.0.1:1/0"
THERE = "redis://127.0.0.1:2/3"


def shop(**conf: Any) -> Celery:
    app = Celery("shop", set_as_current=False)
    app.conf.update(broker_url=HERE, **conf)
    return app


def django(**conf: Any) -> Celery:
    """As the Django pages of Celery say, with an object for ``django.conf:settings``."""
    app = Celery("shop", set_as_current=False)
    names = {f"CELERY_{key.upper()}": value for key, value in {"broker_url": HERE, **conf}.items()}
    app.config_from_object(SimpleNamespace(**names), namespace="CELERY")
    return app


def read_before(**conf: Any) -> Celery:
    app = shop(**conf)
    assert app.conf.broker_url == HERE
    return app


@pytest.fixture(params=[shop, django, read_before])
def make(request: pytest.FixtureRequest) -> Any:
    return request.param


def queues(app: Celery) -> list[str]:
    return [queue.name for queue in app.conf.task_queues]


def test_the_same_app_serves_both(make: Any) -> None:
    app = make()
    assert install(app) is app
    assert isinstance(app, Celery)
    assert queues(app) == ["celery", "agents", "agents.control"]
    assert isinstance(app.connection_for_write().transport, Transport)
    assert isinstance(app.backend, JournalBackend)
    assert AgentsService in app.steps["worker"]
    assert app.conf.worker_disable_prefetch is True
    assert "tasks" in app.conf.include
    assert app.agents_settings.broker.broker_url == HERE
    assert {"clean-journal", "probe-health"} <= app.conf.beat_schedule.keys()


def plugged(env: dict[str, str], told: SimpleQueue[tuple[list[str], list[str]]]) -> None:
    """Tell of the tasks of an app of theirs, and what is logged.

    In a process of its own: tasks that are shared are those of all apps of a process, for good.
    """
    os.environ.update(env)
    heard: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    app = install(Celery("theirs", broker=HERE))
    app.loader.import_default_modules()
    told.put(([*app.tasks], heard))


def test_patterns_of_active_plug_ins_are_served(tmp_path: Path) -> None:
    code = "from celery import shared_task\n@shared_task(name='theirs.twice')\ndef twice(): ...\n"
    about = {"name": "theirs", "patterns": {"twice": ".", "bad": "bad"}}
    folder(tmp_path / "plugins", "theirs", about, __init__=code, bad="1 / 0")
    folder(tmp_path / "plugins", "other", {"name": "other", "patterns": {"x": "."}}, __init__="x")
    (tmp_path / "agents.toml").write_text("[plugins.theirs]\n")
    env = {"AGENTS_CONFIG": str(tmp_path / "agents.toml")}
    env |= {"AGENTS_PLUGIN_DIRS": str(tmp_path / "plugins")}
    told = apart.SimpleQueue()
    process = apart.Process(target=plugged, args=(env, told))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    tasks, heard = told.get()
    assert {"theirs.twice", "agents.ask"} <= {*tasks}, heard
    assert "plug-in theirs" in str(heard)  # of bad
    assert "other" not in str(heard)


def test_what_the_app_says_of_its_own_tasks_stays(make: Any) -> None:
    entry = {"task": "shop.add", "schedule": 60}
    app = install(
        make(
            task_default_queue="shop",
            task_routes={"shop.slow": {"queue": "slow"}},
            beat_schedule={"count": entry},
            include=["shop.tasks"],
            accept_content=["json", "yaml"],
            worker_prefetch_multiplier=7,
            broker_transport_options={"sep": ":"},
        )
    )
    assert queues(app) == ["shop", "agents", "agents.control"]
    assert app.amqp.router.route({}, "shop.slow")["queue"].name == "slow"
    assert app.amqp.router.route({}, "agents.ask")["queue"].name == "agents"
    assert app.amqp.router.route({}, "agents.status")["queue"].name == "agents.control"
    assert app.conf.beat_schedule["count"] == entry
    assert "shop.tasks" in app.conf.include
    assert set(app.conf.accept_content) == {"json", "yaml"}
    assert app.conf.worker_prefetch_multiplier == 7
    assert app.conf.broker_transport_options["sep"] == ":"
    assert app.conf.broker_transport_options["message_limit_bytes"]
    assert app.conf.task_acks_late is False
    assert app.conf.timezone is None


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ([Queue("a"), Queue("agents")], ["a", "agents", "agents.control"]),
        ((Queue("a"), Queue("b")), ["a", "b", "agents", "agents.control"]),
        ({"a": {"routing_key": "x"}}, ["a", "agents", "agents.control"]),
    ],
)
def test_queues_of_the_app_come_first(given: Any, names: list[str]) -> None:
    assert queues(install(shop(task_queues=given))) == names


def test_steps_are_acknowledged_late_whatever_the_app_says() -> None:
    app = install(shop(task_acks_late=False, task_track_started=True, task_ignore_result=True))
    app.loader.import_default_modules()
    ask = app.tasks["agents.ask"]
    assert (ask.acks_late, ask.reject_on_worker_lost, ask.ignore_result) == (True, True, False)
    assert ask.track_started is False


def test_results_stay_in_the_apps_redis(make: Any) -> None:
    app = install(make(result_backend=THERE))
    assert app.backend.address.broker_url == THERE
    assert app.broker_address.broker_url == HERE


def test_settings_are_those_given_but_for_the_broker() -> None:
    settings = Settings.model_validate({"redis_url": THERE, "lease_s": 3, "queue": "mine"})
    app = install(shop(), settings)
    assert app.agents_settings.lease_s == 3
    assert app.agents_settings.broker.broker_url == HERE
    assert queues(app) == ["celery", "mine", "agents.control"]


@pytest.mark.parametrize(
    ("conf", "told"),
    [
        ({"broker_url": "amqp://guest@localhost//"}, "broker_url is no Redis"),
        ({"result_backend": "rpc://"}, "result_backend is no Redis"),
        ({"result_backend": "django-db"}, "result_backend is no Redis"),
        ({"result_serializer": "pickle"}, "result_serializer is 'pickle'"),
    ],
)
def test_what_does_not_suit_is_refused_where_it_is_read(conf: dict[str, Any], told: str) -> None:
    app = Celery("shop", set_as_current=False)
    app.conf.update({"broker_url": HERE, **conf})
    install(app)
    with pytest.raises(ConfigurationError, match=told):
        _ = app.conf.task_queues


def test_twice_is_refused() -> None:
    app = install(shop())
    with pytest.raises(ConfigurationError, match="'shop' serves the agents already"):
        install(app)
