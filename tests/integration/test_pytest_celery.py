"""pytest-celery's own set-up with this project's worker, as its users write tests."""

from __future__ import annotations

import pytest
from pytest_celery import CeleryTestSetup

from celery_agents import Client
from tests.integration.harness import FAST, MODULES, SOON_S
from tests.support.vendors import DOCKER

pytestmark = [
    pytest.mark.databases("sqlite"),
    pytest.mark.skipif(DOCKER, reason="the Docker vendors run pytest-celery's own worker"),
]


@pytest.fixture
def worker_environment(redis_url: str, journal_url: str) -> dict[str, str]:
    return {"REDIS_URL": redis_url, "DATABASE_URL": journal_url, **MODULES, **FAST}


def test_ask_through_the_app_of_the_setup(celery_setup: CeleryTestSetup) -> None:
    assert celery_setup.ready(control=True)
    app = celery_setup.app
    asked = app.send_task("agents.ask", ["hello"], {"agent": "shout"}, queue="agents")
    assert asked.get(timeout=SOON_S) == "HELLO"
    celery_setup.worker.assert_log_exists("agents.ask")


def test_vote_survives_the_kill_of_its_worker(
    celery_setup: CeleryTestSetup, redis_url: str
) -> None:
    with Client(redis_url) as client:
        run = client.vote(["slow_yes", "slow_yes", "no"], "?", stop="none")
        celery_setup.worker.kill()
        celery_setup.worker.restart()
        assert run.get(timeout=SOON_S).option == "yes"


def test_broker_restarts_under_it(celery_setup: CeleryTestSetup, redis_url: str) -> None:
    celery_setup.broker.restart()
    with Client(redis_url) as client:
        assert client.ask("shout", "back").get(timeout=60) == "BACK"
