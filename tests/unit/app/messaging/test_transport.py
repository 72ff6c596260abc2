from __future__ import annotations

import json
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import (
    ConnectionError,  # noqa: A004 - the one that Redis raises
    ResponseError,
)

from app.messaging import transport
from app.messaging.transport import Channel, QoS, Transport, _redelivered
from celery_agents import names
from celery_agents.transport import Channel as RecordingChannel
from celery_agents.transport import Transport as RecordingTransport


@given(st.binary(max_size=200))
def test_what_cannot_be_read_is_given_back_as_it_is(raw: bytes) -> None:
    given_back = _redelivered(raw)
    assert given_back == raw


def test_a_second_delivery_is_marked() -> None:
    message = {"headers": {"id": "1"}, "properties": {"delivery_info": {}}, "body": "é"}
    marked = json.loads(_redelivered(json.dumps(message).encode()))
    assert marked["headers"] == {"id": "1", "redelivered": True}
    assert marked["properties"]["delivery_info"]["redelivered"]
    assert marked["body"] == "é"


def test_our_keys_are_not_other_apps() -> None:
    """Their workers would give our messages back after their own visibility_timeout."""
    assert Channel.unacked_key == names.UNACKED != RecordingChannel.unacked_key
    assert Channel.unacked_index_key == names.UNACKED_TIMES != RecordingChannel.unacked_index_key


class Loop:
    """Celery's hub, as far as a transport asks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.on_tick: set[Callable[[], None]] = set()
        self.now = 100.0
        self.timers: list[float] = []
        monkeypatch.setattr(time, "monotonic", lambda: self.now)

    def call_later(self, delay_s: float, _: Callable[[], None]) -> None:
        self.timers.append(self.now + delay_s)

    def call_repeatedly(self, _: float, call: Callable[[], None]) -> None:
        """Of no use to acknowledgements."""

    def tick(self, after_s: float = transport.ACKS_S) -> None:
        self.now += after_s
        for call in self.on_tick:
            call()


class TestAcknowledging:
    @pytest.fixture
    def qos(self, monkeypatch: pytest.MonkeyPatch) -> QoS:
        """Of a channel of a transport whose Redis only keeps what is removed."""
        ours = Transport(SimpleNamespace(transport_options={}, virtual_host="0"))
        made = QoS(
            SimpleNamespace(connection=ours, closed=False, unacked_key="u", do_restore=False)
        )
        made.channel.qos = made
        ours.channels = [made.channel]
        made.removed = []
        monkeypatch.setattr(made, "_remove", lambda *told: made.removed.append(told))
        return made

    def taken(self, qos: QoS, tag: str, **headers: Any) -> None:
        qos.append(SimpleNamespace(headers={"id": f"id of {tag}", **headers}), tag)

    def ticking(self, qos: QoS, monkeypatch: pytest.MonkeyPatch) -> Loop:
        loop = Loop(monkeypatch)
        monkeypatch.setattr(RecordingTransport, "register_with_event_loop", lambda *_: None)
        qos.channel.connection.register_with_event_loop(None, loop)
        return loop

    def test_at_once_without_an_event_loop(self, qos: QoS) -> None:
        self.taken(qos, "a")
        qos.ack("a")
        assert qos.removed == [(["a"], [], [])]

    def test_all_of_a_turn_together(self, qos: QoS, monkeypatch: pytest.MonkeyPatch) -> None:
        loop = self.ticking(qos, monkeypatch)
        for tag in "abc":
            self.taken(qos, tag)
            qos.ack(tag)
        assert qos.removed == []
        loop.tick()
        loop.tick()
        assert qos.removed == [(["a", "b", "c"], [], [])]

    def test_gathered_for_a_moment(self, qos: QoS, monkeypatch: pytest.MonkeyPatch) -> None:
        loop = self.ticking(qos, monkeypatch)
        for tag in "abc":
            self.taken(qos, tag)
            qos.ack(tag)
            loop.tick(after_s=transport.ACKS_S / 4)
        assert qos.removed == []
        loop.tick()
        assert qos.removed == [(["a", "b", "c"], [], [])]
        assert loop.timers == [100.0 + transport.ACKS_S]  # the loop is awake by then

    def test_with_the_records_of_the_intake(
        self, qos: QoS, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        loop = self.ticking(qos, monkeypatch)
        self.taken(qos, "a", **{names.INTAKE: 1, "task": names.ASK})
        self.taken(qos, "b")
        self.taken(qos, "c", **{names.INTAKE: 1, "task": next(iter(names.CONTROL_TASKS))})
        for tag in "abc":
            qos.ack(tag)
        loop.tick()
        assert qos.removed == [(["a", "b", "c"], ["id of a"], [])]

    def test_what_is_acknowledged_is_not_given_back(
        self, qos: QoS, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.ticking(qos, monkeypatch)
        self.taken(qos, "a")
        self.taken(qos, "b")
        qos.ack("a")
        assert list(set(qos._delivered) - qos._dirty) == ["b"]

    @pytest.mark.parametrize(
        ("error", "pause_s"),
        [
            (ConnectionError("gone"), transport.ACKS_S),
            (ResponseError("NOREPLICAS"), transport.REFUSED_S),
        ],
    )
    def test_a_broker_that_is_away_or_refuses_does_not_end_the_loop(
        self,
        qos: QoS,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        error: Exception,
        pause_s: float,
    ) -> None:
        loop = self.ticking(qos, monkeypatch)

        def refuse(*_: Any) -> None:
            raise error

        with monkeypatch.context() as away:
            away.setattr(qos, "_remove", refuse)
            self.taken(qos, "a")
            qos.ack("a")
            loop.tick()
            assert "not acknowledged yet" in caplog.text
        self.taken(qos, "b")
        qos.ack("b")
        loop.tick(after_s=pause_s * 0.9)
        assert qos.removed == []
        loop.tick(after_s=pause_s * 0.2)
        assert qos.removed == [(["a", "b"], [], [])]


@pytest.mark.parametrize("error", [ConnectionError("gone"), ResponseError("OOM")])
def test_a_channel_ends_though_its_queue_cannot_be_deleted(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(RecordingChannel, "_delete", refuse)
    channel = Channel.__new__(Channel)
    monkeypatch.setattr(Channel, "connection_errors", Transport.connection_errors, raising=False)
    with pytest.raises(type(error)):
        channel._delete("q")
    channel._closing = True
    channel._delete("q")


def test_bindings_that_a_full_redis_does_not_renew_are_noted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_: Any) -> None:
        raise ResponseError("OOM")

    monkeypatch.setattr(RecordingChannel, "maybe_refresh_binding_expiry", refuse)
    for _ in range(5):
        Channel.__new__(Channel).maybe_refresh_binding_expiry()
    assert caplog.text.count("renewed later") == 1
    assert "Traceback" not in caplog.text


def test_one_that_cannot_be_delivered_keeps_no_other_one_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """They were taken together: what is left in the middle would wait for a timeout."""
    channel = Channel.__new__(Channel)
    delivered: list[str] = []

    def deliver(tag: str, *_: Any) -> None:
        if tag == "a":
            raise ValueError("no")
        delivered.append(tag)

    monkeypatch.setattr(channel, "_qos", SimpleNamespace(reserve=list), raising=False)
    monkeypatch.setattr(Channel, "_deliver_taken", lambda _, *taken: deliver(*taken))
    with pytest.raises(ValueError, match="no"):
        channel._deliver_all([(tag, "q", b"") for tag in "abc"])
    assert delivered == ["b", "c"]
    assert "not delivered" in caplog.text
