from __future__ import annotations

import json
from typing import Any

import pytest
from celery.app.defaults import NAMESPACES, flatten
from celery.utils.serialization import jsonify

from app.celeryconfig import celery_config
from app.factory import create_app
from app.settings import Settings
from celery_agents.client.client import Client
from celery_agents.transport import PRIORITY_STEPS


@pytest.fixture
def config() -> dict[str, Any]:
    return celery_config(Settings.model_validate({"redis_url": "redis://:pw@r:1/2"}))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("task_acks_late", True),
        ("task_reject_on_worker_lost", True),
        ("task_acks_on_failure_or_timeout", True),
        ("worker_prefetch_multiplier", 1),
        ("worker_disable_prefetch", True),
        ("broker_connection_max_retries", None),
        ("broker_connection_retry_on_startup", True),
        ("broker_channel_error_retry", True),
        ("worker_cancel_long_running_tasks_on_connection_loss", False),
        ("result_backend_always_retry", True),
        ("worker_soft_shutdown_timeout", 30),
        ("task_default_priority", 5),
        ("task_serializer", "json"),
        ("result_serializer", "json"),
        ("accept_content", ["json"]),
        ("result_accept_content", ["json"]),
        ("beat_scheduler", "app.maintenance.beat:BeatScheduler"),
    ],
)
def test_what_the_faults_ask_for(config: dict[str, Any], setting: str, value: object) -> None:
    assert config[setting] == value


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("visibility_timeout", 7200),
        ("unacked_restore_interval", 10),
        ("unacked_restore_throttle", 1),
        ("socket_timeout", 5),
        ("socket_connect_timeout", 2),
        ("socket_keepalive", True),
        ("max_retries", 3),
        ("interval_start", 0.1),
        ("interval_step", 0.3),
        ("interval_max", 1),
        ("priority_steps", list(range(21))),
        ("queue_order_strategy", "round_robin"),
    ],
)
def test_what_the_faults_ask_of_the_transport(
    config: dict[str, Any], option: str, value: object
) -> None:
    assert config["broker_transport_options"][option] == value


def test_no_setting_is_misspelt(config: dict[str, Any]) -> None:
    """Celery ignores names that it does not know."""
    known = {name for name, _ in flatten(NAMESPACES)}
    unknown = {name for name in config if name not in known and not name.startswith("redbeat_")}
    assert unknown == set()


def test_joins_live_longer_than_their_members(config: dict[str, Any]) -> None:
    assert config["result_chord_expires"] >= config["result_expires"] >= 24 * 3600


def test_clients_and_workers_agree(config: dict[str, Any]) -> None:
    with Client("redis://r:1/2") as client:
        options = client.celery.conf.broker_transport_options
    assert options.items() <= config["broker_transport_options"].items()
    assert len(PRIORITY_STEPS) == 10


def test_control_messages_have_their_own_queue(config: dict[str, Any]) -> None:
    assert [q.name for q in config["task_queues"]] == ["agents", "agents.control"]
    assert config["task_default_queue"] == "agents"


def test_the_schedule_is_data(config: dict[str, Any]) -> None:
    from celery import current_app

    import tasks  # noqa: F401 - registers them

    for name, entry in config["beat_schedule"].items():
        assert entry["task"] in current_app.tasks, name
        assert entry["options"]["expires"] > 0, name


PASSWORD = "canary" + "Pa55w0rd"


@pytest.mark.parametrize(
    "url",
    [
        "redis://:{}@r:1/2",
        "redis://bob:{}@r:1/2",
        "rediss://:{}@r:1",
        "sentinel://:{}@a,b:1/m",
    ],
)
@pytest.mark.parametrize("password", [PASSWORD, "a%2Fb%40" + PASSWORD, "1234" + PASSWORD])
def test_what_celery_shows_of_the_settings_holds_no_password(url: str, password: str) -> None:
    """``celery report``, ``inspect conf`` and ``inspect report``, and so Flower's worker page."""
    app = create_app(Settings.model_validate({"redis_url": url.format(password)}))
    conf = jsonify(
        app.conf.table(with_defaults=True),
        keyfilter=lambda key: not key.startswith("__"),
        unknown_type_filter=repr,
    )
    for text in (app.bugreport(), json.dumps(conf), app.conf.humanize()):
        assert "redbeat_redis_url" in text
        assert PASSWORD not in text


def test_beat_is_told_where_its_schedule_is(config: dict[str, Any]) -> None:
    assert config["redbeat_redis_url"] == "redis://:***@r:1/2"
    plain = celery_config(Settings.model_validate({"redis_url": "redis://r:1/2"}))
    assert plain["redbeat_redis_url"] == "redis://r:1/2"
