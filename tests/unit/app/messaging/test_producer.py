"""What fibers publish, on a broker in memory."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import Any, Self

import pytest
from celery import Celery
from kombu.exceptions import BatchPublishError, EncodeError, OperationalError
from redis.exceptions import ConnectionError as RedisConnectionError

from app.messaging import producer as module
from app.messaging.producer import AgentsCelery, Collector, Outgoing, Parcel
from celery_agents.wire.messages import compose
from tests.support.fibers import in_a_fiber

SOON = 20


class RedisChannel:
    """Ours, that fails when told to."""

    def __init__(self) -> None:
        self.writes: list[list[Any]] = []
        self.errors: list[Exception] = []

    def put_all(self, messages: list[Any]) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.writes.append([*messages])


class Producer:
    """Kombu's, that fails when told to, and keeps what was flushed."""

    def __init__(self) -> None:
        self.channel = RedisChannel()
        self.writes: list[list[Any]] = []
        self.errors: list[Exception] = []

    def publish(self, body: Any, **options: Any) -> None:
        if body == "unspeakable":
            raise EncodeError("no JSON")
        self._open.append(body)

    @contextmanager
    def batch(self, max_size: int) -> Any:
        self._open: list[Any] = []
        yield
        if self.errors:
            raise self.errors.pop(0)
        self.writes.append(self._open)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...


class App:
    def __init__(self) -> None:
        self.producer = Producer()

    def pooled_producer(self) -> Producer:
        return self.producer


def parcel(*bodies: str) -> Parcel:
    return Parcel(published=[(body, {}) for body in bodies])


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> App:
    monkeypatch.setattr(module, "wait_random_exponential", lambda **_: lambda _: 0)
    return App()


class TestOutbox:
    def test_what_gathers_goes_out_in_one_write(self, app: App) -> None:
        outgoing = Outgoing(app)  # type: ignore[arg-type]
        errors = outgoing._send([parcel("a", "b"), parcel("c")])
        assert errors == [None, None]
        assert app.producer.writes == [["a", "b", "c"]]

    @pytest.mark.parametrize("error", [BatchPublishError("gone"), OperationalError("gone")])
    def test_tries_again(self, app: App, error: Exception) -> None:
        app.producer.errors = [error]
        outgoing = Outgoing(app)  # type: ignore[arg-type]
        assert outgoing.submit(parcel("a")).exception(SOON) is None
        assert app.producer.writes == [["a"]]

    def test_gives_up(self, app: App) -> None:
        app.producer.errors = [BatchPublishError("gone")] * module.ATTEMPTS
        outgoing = Outgoing(app)  # type: ignore[arg-type]
        assert isinstance(outgoing.submit(parcel("a")).exception(SOON), OperationalError)
        assert outgoing.submit(parcel("b")).exception(SOON) is None  # the next has its own chance

    def test_one_that_cannot_be_encoded_spoils_no_other(self, app: App) -> None:
        outgoing = Outgoing(app)  # type: ignore[arg-type]
        errors = outgoing._send([parcel("a"), parcel("unspeakable"), parcel("b")])
        assert [type(e) for e in errors] == [type(None), EncodeError, type(None)]
        assert app.producer.writes == [["a"], ["b"]]

    def test_composed_messages_go_out_in_one_command(self, app: App) -> None:
        outgoing = Outgoing(app)  # type: ignore[arg-type]
        first, second = ("q", {"body": "1"}), ("q", {"body": "2"})
        assert outgoing._send([Parcel([first]), parcel("a"), Parcel([second])]) == [None] * 3
        assert app.producer.channel.writes == [[first, second]]
        assert app.producer.writes == [["a"]]

    def test_a_broker_that_goes_away_under_composed_messages(self, app: App) -> None:
        app.producer.channel.errors = [RedisConnectionError("gone"), OSError("gone")]
        outgoing = Outgoing(app)  # type: ignore[arg-type]
        assert outgoing.submit(Parcel([("q", {})])).exception(SOON) is None
        assert app.producer.channel.writes == [[("q", {})]]


class TestCollector:
    def test_sends_when_its_block_ends(self, app: App) -> None:
        outgoing = Outgoing(app)  # type: ignore[arg-type]
        with Collector(outgoing) as producer:
            producer.publish("a", retry=True)
            producer.publish("b")
            assert app.producer.writes == []
        assert app.producer.writes == [["a", "b"]]

    def test_nothing_of_a_block_that_failed(self, app: App) -> None:
        outgoing = Outgoing(app)  # type: ignore[arg-type]

        def fail() -> None:
            with Collector(outgoing) as producer:
                producer.publish("a")
                raise KeyError

        with pytest.raises(KeyError):
            fail()
        assert app.producer.writes == []


class TestApp:
    @pytest.fixture
    def celery(self) -> AgentsCelery:
        return AgentsCelery("t", broker="memory://", set_as_current=False)

    def test_collects_in_fibers_only(self, celery: AgentsCelery) -> None:
        assert isinstance(in_a_fiber(celery.producer_or_acquire), Collector)
        with celery.producer_or_acquire() as producer:
            assert not isinstance(producer, Collector)

    def test_a_given_producer_is_used(self, celery: AgentsCelery) -> None:
        given = Collector(celery.outgoing)

        def which() -> Any:
            with celery.producer_or_acquire(given) as producer:
                return producer

        assert in_a_fiber(which) is given

    def test_tasks_sent_in_a_fiber_arrive(self, celery: AgentsCelery) -> None:
        def send() -> list[str]:
            return [celery.send_task("x", (n,), queue="outgoing").id for n in range(3)]

        sent = in_a_fiber(send)
        with celery.connection_for_read() as connection:
            queue = connection.SimpleQueue("outgoing")
            got = [queue.get(timeout=5).headers["id"] for _ in sent]
        assert got == sent

    @pytest.mark.parametrize("call", [in_a_fiber, lambda function: function()])
    def test_composed_messages_arrive_on_any_transport(
        self, celery: AgentsCelery, call: Callable[..., Any]
    ) -> None:
        about: dict[str, Any] = {"task_id": "1", "args": ["ü"], "argsrepr": "", "kwargsrepr": ""}
        message = compose(celery, "x", queue="post", priority=3, marks={"mark": 1}, **about)
        call(lambda: celery.post([("post", message)]))
        with celery.connection_for_read() as connection:
            got = connection.SimpleQueue("post").get(timeout=5)
        assert (got.headers["id"], got.headers["mark"], got.properties["priority"]) == ("1", 1, 3)
        assert got.payload[0] == ["ü"]

    def test_the_time_zone_is_celerys(self, celery: AgentsCelery) -> None:
        assert celery.timezone == Celery("plain", set_as_current=False).timezone
        assert celery.uses_utc_timezone()

    def test_one_outgoing_for_a_process(self, celery: AgentsCelery) -> None:
        assert celery.outgoing is celery.outgoing
        assert not hasattr(Celery("plain", set_as_current=False), "outgoing")
