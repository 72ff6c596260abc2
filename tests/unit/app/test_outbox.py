"""What fibers publish, on a broker in memory."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import Any, Self

import pytest
from celery import Celery
from kombu.exceptions import BatchPublishError, EncodeError, OperationalError

from app import outbox as module
from app.fibers import Fiber
from app.loop import process_loop
from app.outbox import AgentsCelery, Collector, Outbox
from app.reply import Reply

SOON = 20


class Producer:
    """Kombu's, that fails when told to, and keeps what was flushed."""

    def __init__(self) -> None:
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

    def producer_or_acquire(self) -> Producer:
        return self.producer


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> App:
    monkeypatch.setattr(module, "wait_random_exponential", lambda **_: lambda _: 0)
    return App()


def in_a_fiber(function: Callable[[], Any]) -> Any:
    come: Reply[Any] = Reply()

    def run() -> None:
        try:
            come.set_result(function())
        except Exception as error:  # noqa: BLE001 - the test's to look at
            come.set_exception(error)

    process_loop().post(lambda: Fiber(process_loop(), run).begin())
    return come.result(SOON)


class TestOutbox:
    def test_what_gathers_goes_out_in_one_write(self, app: App) -> None:
        outbox = Outbox(app)  # type: ignore[arg-type]
        errors = outbox._send([[("a", {}), ("b", {})], [("c", {})]])
        assert errors == [None, None]
        assert app.producer.writes == [["a", "b", "c"]]
        outbox.close()

    @pytest.mark.parametrize("error", [BatchPublishError("gone"), OperationalError("gone")])
    def test_tries_again(self, app: App, error: Exception) -> None:
        app.producer.errors = [error]
        outbox = Outbox(app)  # type: ignore[arg-type]
        assert outbox.submit([("a", {})]).exception(SOON) is None
        assert app.producer.writes == [["a"]]
        outbox.close()

    def test_gives_up(self, app: App) -> None:
        app.producer.errors = [BatchPublishError("gone")] * module.ATTEMPTS
        outbox = Outbox(app)  # type: ignore[arg-type]
        assert isinstance(outbox.submit([("a", {})]).exception(SOON), OperationalError)
        assert outbox.submit([("b", {})]).exception(SOON) is None  # the next has its own chance
        outbox.close()

    def test_one_that_cannot_be_encoded_spoils_no_other(self, app: App) -> None:
        outbox = Outbox(app)  # type: ignore[arg-type]
        errors = outbox._send([[("a", {})], [("unspeakable", {})], [("b", {})]])
        assert [type(e) for e in errors] == [type(None), EncodeError, type(None)]
        assert app.producer.writes == [["a"], ["b"]]
        outbox.close()

    def test_closing_sends_what_is_queued(self, app: App) -> None:
        outbox = Outbox(app)  # type: ignore[arg-type]
        replies = [outbox.submit([(n, {})]) for n in range(20)]
        outbox.close()
        assert [r.exception(0) for r in replies] == [None] * 20
        assert [b for w in app.producer.writes for b in w] == list(range(20))


class TestCollector:
    def test_sends_when_its_block_ends(self, app: App) -> None:
        outbox = Outbox(app)  # type: ignore[arg-type]
        with Collector(outbox) as producer:
            producer.publish("a", retry=True)
            producer.publish("b")
            assert app.producer.writes == []
        assert app.producer.writes == [["a", "b"]]
        outbox.close()

    def test_nothing_of_a_block_that_failed(self, app: App) -> None:
        outbox = Outbox(app)  # type: ignore[arg-type]

        def fail() -> None:
            with Collector(outbox) as producer:
                producer.publish("a")
                raise KeyError

        with pytest.raises(KeyError):
            fail()
        outbox.close()
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
        given = Collector(celery.outbox)

        def which() -> Any:
            with celery.producer_or_acquire(given) as producer:
                return producer

        assert in_a_fiber(which) is given

    def test_tasks_sent_in_a_fiber_arrive(self, celery: AgentsCelery) -> None:
        def send() -> list[str]:
            return [celery.send_task("x", (n,), queue="outbox").id for n in range(3)]

        sent = in_a_fiber(send)
        with celery.connection_for_read() as connection:
            queue = connection.SimpleQueue("outbox")
            got = [queue.get(timeout=5).headers["id"] for _ in sent]
        assert got == sent

    def test_one_outbox_for_a_process(self, celery: AgentsCelery) -> None:
        assert celery.outbox is celery.outbox
        assert not hasattr(Celery("plain", set_as_current=False), "outbox")
