from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu.transport.redis import Channel

from app.execution.submission import Submission
from app.messaging.intake import Intake, _decode, expired
from app.settings import Settings
from celery_agents import names
from celery_agents.client.client import Client
from celery_agents.contracts.ask import Ask, StepOptions
from celery_agents.contracts.policies import RetryPolicy
from celery_agents.transport import PRIORITY_STEPS
from tests.support.redis_server import RedisServer

HEADERS = {"id": "s", "task": names.ASK, "group": None}
PROPERTIES = {"priority": 3, "body_encoding": "base64", "delivery_info": {"routing_key": "q"}}
BODY = [["hello"], {"agent": "a"}, {"callbacks": None, "chain": [{"task": "x"}]}]


def record(body: Any = BODY, headers: Any = HEADERS, properties: Any = PROPERTIES) -> bytes:
    text = json.dumps(body)
    if isinstance(properties, dict) and properties.get("body_encoding") == "base64":
        text = base64.b64encode(text.encode()).decode()
    return json.dumps({"body": text, "headers": headers, "properties": properties}).encode()


@pytest.mark.parametrize("encoding", ["base64", None])
def test_a_record_is_read(encoding: str | None) -> None:
    properties = {**PROPERTIES, "body_encoding": encoding}
    found = _decode(record(properties=properties))
    assert found == {
        "headers": HEADERS,
        "properties": properties,
        "args": ["hello"],
        "kwargs": {"agent": "a"},
        "embed": BODY[2],
    }


@pytest.mark.parametrize(
    "broken",
    [
        None,
        b"",
        b"no json",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"7",
        b"{}",
        b'{"body": "x"}',
        record(properties=None),
        record(properties=[]),
        record(headers=None),
        record(headers=[]),
        record(headers={}),
        record(headers={"id": 7, "task": "t"}),
        record(headers={"id": "s", "task": None}),
        record(body=None),
        record(body=[]),
        record(body=[[], {}]),
        record(body=[[], {}, {}, {}]),
        record(body={"a": 1, "b": 2, "c": 3}),
        record(body=["args", {}, {}]),
        record(body=[[], ["kwargs"], {}]),
        record(body=[[], {}, ["embed"]]),
        json.dumps({"body": "%%%", "headers": HEADERS, "properties": PROPERTIES}).encode(),
        json.dumps({"body": {}, "headers": HEADERS, "properties": PROPERTIES}).encode(),
        json.dumps({"body": "{}", "headers": HEADERS, "properties": {"body_encoding": 1}}).encode(),
        b'{"body": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_a_record_that_cannot_be_read_is_none(broken: bytes | None) -> None:
    """One such record must not keep recovery from those behind it."""
    found = _decode(broken)
    assert found is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda below: (
        st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=3), below, max_size=2)
    ),
    max_leaves=5,
)


@given(json_values, json_values, json_values)
def test_whatever_is_read_can_be_made_a_row(body: Any, headers: Any, properties: Any) -> None:
    found = _decode(record(body, headers, properties))
    if found is not None:
        Submission.recorded(found).row(StepOptions())


def test_a_row_of_a_record() -> None:
    message = _decode(record())
    assert message is not None
    options = Ask(agent="a", retry=RetryPolicy(max_attempts=4), deadline_s=9.0)
    step = Submission.recorded(message).row(options)
    assert (step.id, step.run_id, step.task, step.queue) == ("s", "s", names.ASK, "q")
    assert (step.priority, step.max_attempts, step.timeout_s, step.agent) == (3, 4, 9.0, "a")
    assert step.payload == {"args": ["hello"], "kwargs": {"agent": "a"}}
    assert step.envelope == {"chain": [{"task": "x"}]}


# ---------------------------------------------------------------- with the broker


@pytest.fixture
def client(redis_url: str) -> Iterator[Client]:
    with Client(redis_url) as made:
        yield made


@pytest.fixture
def intake(redis_url: str) -> Intake:
    return Intake.connect(Settings.model_validate({"redis_url": redis_url}))


def test_what_is_only_queued_says_so(client: Client, intake: Intake) -> None:
    run = client.ask("a", "?", tenant="acme")
    found = intake.queued(run.id)
    assert found is not None
    (step,) = found["steps"]
    assert (found["state"], found["task"], found["tenant"]) == ("queued", names.ASK, "acme")
    assert (step["state"], step["queue"], step["agent"]) == ("queued", "agents", "a")
    assert intake.queued("another") is None


def test_what_a_client_sent_is_read_back(client: Client, intake: Intake) -> None:
    run = client.ask("a", {"text": "grüße"}, priority=2, retry={"max_attempts": 2})
    assert intake.older_than(0, 10) == [run.id]
    assert intake.older_than(3600, 10) == []
    found = intake.read([run.id, "nobody"])
    assert found["nobody"] is None
    message = found[run.id]
    assert message is not None
    step = Submission.recorded(message).row(Ask(agent="a", retry=RetryPolicy(max_attempts=2)))
    assert (step.id, step.task, step.priority, step.queue) == (run.id, names.ASK, 2, "agents")
    assert step.payload == {
        "args": [{"text": "grüße"}],
        "kwargs": {"agent": "a", "retry": {"max_attempts": 2}},
    }


def test_records_are_forgotten(client: Client, intake: Intake) -> None:
    runs = [client.ask("a", n) for n in range(3)]
    intake.forget([runs[0].id, runs[2].id, "nobody"])
    intake.forget([])
    assert intake.older_than(0, 10) == [runs[1].id]
    assert intake.read([runs[0].id]) == {runs[0].id: None}


def test_the_oldest_come_first_within_the_limit(client: Client, intake: Intake) -> None:
    runs = []
    for n in range(4):
        runs.append(client.ask("a", n).id)
        time.sleep(0.002)
    assert intake.older_than(0, 3) == runs[:3]


def test_the_depth_counts_every_list(
    client: Client, intake: Intake, broker: RedisServer, redis_database: int
) -> None:
    for priority in (0, 3, 9, 9):
        client.ask("a", 1, priority=priority)
    client.runs.cancel("somebody")
    with broker.client(redis_database) as store:
        store.lpush("agents\x06\x1615", "one of many")
    assert intake.depth("agents") == 5
    assert intake.depth(names.CONTROL_QUEUE) == 1
    assert intake.depth("empty") == 0


def test_the_names_of_queues_are_kombus(client: Client) -> None:
    with client.celery.connection_for_write() as connection:
        channel: Channel = connection.default_channel
        found = [channel._q_for_pri("q", p) for p in PRIORITY_STEPS]
    assert found == ["q", *(f"q\x06\x16{p}" for p in PRIORITY_STEPS[1:])]


@pytest.mark.parametrize(
    ("expires", "is_over"),
    [
        (None, False),
        ("", False),
        ("not a time", False),
        (17, False),
        ("2020-01-01T00:00:00+00:00", True),
        ("2999-01-01T00:00:00+00:00", False),
    ],
)
def test_what_has_expired(expires: object, is_over: bool) -> None:
    assert expired({"headers": {"expires": expires}}) is is_over


@pytest.mark.parametrize("value", ["a\0b", "\ud83d", 10**999, {"__type__": "x", "more": 1}])
def test_a_record_holds_whatever_a_message_may(value: Any) -> None:
    for encoding in ("base64", None):
        properties = {**PROPERTIES, "body_encoding": encoding}
        found = _decode(record([[value], {"agent": "a"}, {}], properties=properties))
        assert found is not None
        assert found["args"] == [value]


@pytest.mark.parametrize("step_id", ["a\0", "x" * 156, "", 7])
def test_a_record_without_an_id_that_a_row_can_have_is_none(step_id: object) -> None:
    """It would keep all that are read with it from becoming rows."""
    assert _decode(record(headers={**HEADERS, "id": step_id})) is None
