"""Schedules, as a client says them; and from the command line."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from unittest.mock import Mock
from zoneinfo import ZoneInfo

import click
import pytest
from celery import Celery, chain
from click.testing import CliRunner

from celery_agents import Client
from celery_agents.client.flows.commands import schedules_group
from celery_agents.client.flows.schedules import Schedules
from celery_agents.contracts.flows.schedules import ScheduleInfo, ScheduleRule
from celery_agents.errors import AgentsError

AGENTS = Client("redis://localhost:1/0")
RUN = AGENTS.start.s("digest", {"of": "sales"})
INFO = ScheduleInfo(name="digest", rule=ScheduleRule(every_s=60.0), task="agents.flow")


class Asked:
    """What a worker would be asked."""

    def __init__(self) -> None:
        self.told: tuple[Any, ...] = ()

    def ask(self, *told: Any) -> Any:
        self.told = told
        return Mock(get=lambda **_: INFO.model_dump(mode="json"))


def put(run: Any = RUN, **options: Any) -> tuple[Any, ...]:
    asked = Asked()
    found = Schedules(asked, AGENTS.runs).put("digest", run, **options)  # type: ignore[arg-type]
    assert found == INFO
    return asked.told[1:]


def test_what_a_worker_is_told() -> None:
    name, rule, run, tenant = put(cron="0 9 * * 1-5", tz="Europe/Berlin", catchup="all")
    assert (name, tenant) == ("digest", "")
    assert rule == {"cron": "0 9 * * 1-5", "tz": "Europe/Berlin", "catchup": "all"}
    assert run == {
        "task": "agents.flow",
        "args": [{"of": "sales"}],
        "kwargs": {"flow": "digest"},
        "queue": "agents",
        "priority": 5,
    }


def test_whose_it_is() -> None:
    mine = AGENTS.ask.s("gpt", "x", tenant="acme", priority=2)
    *_, run, tenant = put(mine, every_s=60.0, tenant="acme")
    assert (run["priority"], tenant) == (2, "acme")
    with pytest.raises(AgentsError, match="of tenant 'acme'"):
        put(mine, every_s=60.0)


@pytest.mark.parametrize(
    ("at", "tz"),
    [
        (datetime(2026, 12, 1, 9, tzinfo=ZoneInfo("Europe/Berlin")), "UTC"),
        (datetime.fromisoformat("2026-12-01T09:00"), "Europe/Berlin"),
        (datetime.fromisoformat("2026-12-01T08:00"), "UTC"),
        (datetime(2026, 12, 1, 8, tzinfo=UTC).timestamp(), "UTC"),
    ],
)
def test_one_time(at: Any, tz: str) -> None:
    _, rule, *_ = put(at=at, tz=tz)
    assert rule == {"at": datetime(2026, 12, 1, 8, tzinfo=UTC).timestamp()}


@pytest.mark.parametrize(
    ("run", "options", "told"),
    [
        ("digest", {"every_s": 60.0}, "a signature of a verb"),
        (chain(RUN, RUN), {"every_s": 60.0}, "a signature of a verb"),
        (Celery().signature("other.task"), {"every_s": 60.0}, "a signature of a verb"),
        (AGENTS.ask.s("gpt", "x", id="mine"), {"every_s": 60.0}, "without an id"),
        (AGENTS.ask.s("gpt", "x").set(link=RUN), {"every_s": 60.0}, "without an id"),
        (Celery().signature("agents.ask"), {"every_s": 60.0}, "a signature of a verb"),
        (RUN, {}, "one of cron, every_s, at"),
        (RUN, {"every_s": 60.0, "overlap": "both"}, "overlap"),
        (
            RUN,
            {"at": datetime.fromisoformat("2026-12-01"), "tz": "Mars/Base"},
            "no zone 'Mars/Base'",
        ),
    ],
)
def test_what_is_refused_before_it_is_sent(run: Any, options: dict[str, Any], told: str) -> None:
    with pytest.raises(AgentsError, match=told):
        put(run, **options)


def shell(*words: str) -> tuple[Any, Mock]:
    client = Mock(wraps=AGENTS)
    client.__enter__ = Mock(return_value=client)
    client.__exit__ = Mock(return_value=None)
    client.start.s, client.ask.s = Mock(), Mock()
    client.schedules.put = Mock(return_value=INFO)
    client.schedules.get = Mock(return_value=None)
    client.schedules.delete = Mock(return_value=False)
    group: click.Group = schedules_group(lambda _: client)
    return CliRunner().invoke(group, words), client


def test_put_from_the_command_line() -> None:
    done, client = shell("put", "d", '{"of": 1}', "--flow", "digest", "--every", "60")
    assert (done.exit_code, done.output) == (0, "d: next never\n")
    client.start.s.assert_called_once_with("digest", {"of": 1})
    options = client.schedules.put.call_args.kwargs
    assert options["every_s"] == 60.0
    done, client = shell("put", "d", "hello", "--agent", "gpt", "--at", "2026-12-01T09:00")
    client.ask.s.assert_called_once_with("gpt", "hello")
    assert client.schedules.put.call_args.kwargs["at"].hour == 9


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["put", "d", "x", "--every", "60"], 2),
        (["put", "d", "x", "--flow", "f", "--agent", "a"], 2),
        (["put", "d", "x", "--flow", "f", "--at", "tomorrow"], 2),
        (["show", "d"], 1),
        (["delete", "d"], 1),
    ],
)
def test_a_line_that_is_wrong(words: list[str], code: int) -> None:
    done, _ = shell(*words)
    assert done.exit_code == code
