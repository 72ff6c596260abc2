"""Values that two data centres change: each with its own journal, one with a worker and an API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from app.access.permissions import Role
from app.cli.replicate import KEY
from app.journal.replicated.store import ReplicatedStore
from app.journal.schema.engine import connect
from app.journal.schema.models import Entry
from app.maintenance import replicating
from app.maintenance.replicating import Replication, Source, SourceAwayError, SourceRefusedError
from celery_agents.contracts.flows.replicated import ReplicatedPage, changes_of
from celery_agents.errors import ConfigurationError, InvalidPayloadError
from tests.integration.harness import SOON_S, Stack, celery
from tests.support.api import made_key, served
from tests.support.service import APP

pytestmark = pytest.mark.databases("both")


@pytest.fixture
def elsewhere(_migrated_sqlite: Path, tmp_path: Path) -> Iterator[ReplicatedStore]:
    """The journal of the other data centre."""
    path = tmp_path / "elsewhere.db"
    path.write_bytes(_migrated_sqlite.read_bytes())
    engine = connect(f"sqlite:///{path}")
    yield ReplicatedStore(engine)
    engine.dispose()


def test_a_worker_changes_values_and_another_data_centre_takes_them_over(
    either: Stack, elsewhere: ReplicatedStore, tmp_path: Path
) -> None:
    replicas = either.client.replicated
    visits = replicas.counter("visits")
    assert visits.increment(3, id="click", timeout=SOON_S) == 3
    assert visits.increment(3, id="click", timeout=SOON_S) == 3
    assert visits.decrement(timeout=SOON_S) == 2
    order = replicas.map("user-5").map("order")
    assert order.set("items").add("tea", {"b": 1}, timeout=SOON_S) == ["tea", {"b": 1}]
    assert order.set("items").discard("tea", timeout=SOON_S) == [{"b": 1}]
    assert order.register("at").assign("now", timeout=SOON_S) == "now"
    assert order.value(timeout=SOON_S) == {"at": "now", "items": [{"b": 1}]}
    assert order.remove("register", "at", timeout=SOON_S) == {"items": [{"b": 1}]}
    named = [(one.type, one.name) for one in replicas.list(timeout=SOON_S)]
    assert named == [("counter", "visits"), ("map", "user-5")]
    key = made_key(either.database_url, Role.READONLY)
    with served(either.env, tmp_path) as http:
        source = Source(str(http.base_url), key)
        (told,) = Replication(elsewhere, source).once()
        assert (told.new, told.known, told.behind) == (6, 0, 0)
        change(elsewhere, "visits", 10)
        assert [*Replication(elsewhere, source).once()] == []
        (again,) = Replication(elsewhere, source, anew=True).once()
        assert (again.new, again.known) == (0, 6)
        with pytest.raises(SourceRefusedError, match="answers 401"):
            Source(str(http.base_url), "ca_" + "0" * 20).page(None)
        engine = connect(either.database_url)
        own = Replication(ReplicatedStore(engine), source, anew=True)
        with pytest.raises(InvalidPayloadError, match="another identity"):
            [*own.once()]
        engine.dispose()
    assert elsewhere.read("", "counter", "visits").value == 12
    assert elsewhere.read("", "map", "user-5").value == {"order": {"items": [{"b": 1}]}}
    assert visits.value(timeout=SOON_S) == 2


def change(store: ReplicatedStore, name: str, by: int) -> None:
    read = changes_of([{"act": "increment", "value": by}], "counter")
    store.change("", ("counter", name), read, f"by {by}")


def test_values_that_any_text_may_be_are_taken_over(
    fast: Stack, elsewhere: ReplicatedStore, tmp_path: Path
) -> None:
    half = "\ud800 \x00 \U0001f600"
    for data_type, act in (("register", "assign"), ("set", "add")):
        read = changes_of([{"act": act, "value": half}], data_type)  # type: ignore[arg-type]
        elsewhere.change("", (data_type, "x"), read, "1")  # type: ignore[arg-type]
    url = str(elsewhere.engine.url)
    engine = connect(fast.database_url)
    store = ReplicatedStore(engine)
    with served({**fast.env, "DATABASE_URL": url}, tmp_path) as http:
        source = Source(str(http.base_url), made_key(url, Role.READONLY))
        assert [one.new for one in Replication(store, source).once()] == [2]
    assert store.read("", "register", "x").value == half
    assert store.read("", "set", "x").value == [half]
    engine.dispose()


def test_values_of_the_tenant_of_a_key_are_not_taken_for_nobodys(
    fast: Stack, elsewhere: ReplicatedStore, tmp_path: Path
) -> None:
    read = changes_of([{"act": "increment", "value": 1}], "counter")
    elsewhere.change("acme", ("counter", "n"), read, "1")
    url = str(elsewhere.engine.url)
    key = made_key(url, Role.READONLY, tenant="acme")
    engine = connect(fast.database_url)
    store = ReplicatedStore(engine)
    with served({**fast.env, "DATABASE_URL": url}, tmp_path) as http:
        with pytest.raises(InvalidPayloadError, match="'acme'"):
            [*Replication(store, Source(str(http.base_url), key)).once()]
        (told,) = Replication(store, Source(str(http.base_url), key, "acme"), "acme").once()
    assert told.new == 1
    assert store.listed("", "", 10) == []
    engine.dispose()


class Beside(Source):
    """A journal of this process; it notes what it is asked."""

    def __init__(self, other: ReplicatedStore) -> None:
        self.url, self.other = "http://127.0.0.1:9", other
        self.asked: list[str | None] = []

    def page(self, after: str | None, limit: int = 500) -> ReplicatedPage:
        """A page of it."""
        self.asked.append(after)
        return self.other.page("", after, limit)


class Endless(Beside):
    """Answers the first page whatever it is asked for, and has more each time."""

    def page(self, after: str | None, limit: int = 500) -> ReplicatedPage:
        """The first page."""
        first = None if after else after
        return super().page(first, limit).model_copy(update={"behind": 7})


class Changing(Beside):
    """Has another name at each answer, as if it were many."""

    def page(self, after: str | None, limit: int = 500) -> ReplicatedPage:
        """A page of one of them."""
        self.other.renew()
        return super().page(after, limit)


def test_the_next_look_begins_where_the_last_one_ended(
    fast: Stack, elsewhere: ReplicatedStore
) -> None:
    source, engine = Beside(elsewhere), connect(fast.database_url)
    taking = Replication(ReplicatedStore(engine), source)
    change(elsewhere, "visits", 5)
    assert [one.new for one in taking.once()] == [1]
    source.asked.clear()
    change(elsewhere, "visits", 6)
    assert [one.new for one in taking.once()] == [1]
    assert None not in source.asked
    elsewhere.renew()  # it was set back: what it has made since may have earlier places
    change(elsewhere, "visits", 7)
    assert [(one.new, one.known) for one in taking.once()] == [(1, 2)]
    with pytest.raises(SourceAwayError, match="several"):
        [*Replication(ReplicatedStore(engine), Changing(elsewhere)).once()]
    engine.dispose()


def test_a_source_that_gives_one_page_for_ever_is_refused(
    fast: Stack, elsewhere: ReplicatedStore
) -> None:
    change(elsewhere, "visits", 5)
    engine = connect(fast.database_url)
    with pytest.raises(SourceRefusedError, match="the same page"):
        [*islice(Replication(ReplicatedStore(engine), Endless(elsewhere)).once(), 5)]
    engine.dispose()


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b"\xff", b'{"replica": NaN}', b"9" * 5_000, b"[]", b""]
)
def test_what_is_no_page_is_refused(body: bytes) -> None:
    with pytest.raises(SourceRefusedError, match="no page"):
        Source("http://127.0.0.1:9", None)._read(200, body)


def test_a_source_that_dribbles_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    class Dribbling:
        def iter_bytes(self) -> Iterator[bytes]:
            """A byte at a time, for as long as anybody reads."""
            while True:
                yield b" "

    monkeypatch.setattr(replicating, "_WHOLE_S", 0.0)
    with pytest.raises(SourceAwayError, match="too slowly"):
        Source("http://127.0.0.1:9", None)._body(Dribbling())


def test_the_command_takes_over_and_shows_no_key(
    fast: Stack, elsewhere: ReplicatedStore, tmp_path: Path
) -> None:
    change(elsewhere, "visits", 5)
    url = str(elsewhere.engine.url)
    key = made_key(url, Role.READONLY)
    with served({**fast.env, "DATABASE_URL": url}, tmp_path) as http:
        where = str(http.base_url).rstrip("/")
        command = ["-A", APP, "agents", "replicate", "--from", where, "--json"]
        done = celery(*command, env=fast.env | {KEY: key})
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[0]["new"] == 1
    assert lines[-1] == {"source": where, "done": True}
    assert key not in done.stdout + done.stderr
    engine = connect(fast.database_url)
    assert ReplicatedStore(engine).read("", "counter", "visits").value == 5
    engine.dispose()
    away = celery(*command, env=fast.env | {KEY: key})
    assert away.returncode == 1
    assert json.loads(away.stdout)["error"]["kind"] == "unavailable"
    assert key not in away.stdout + away.stderr


def test_the_command_puts_old_changes_together(fast: Stack) -> None:
    engine = connect(fast.database_url)
    store = ReplicatedStore(engine)
    for by in (1, 2, 3):
        change(store, "visits", by)
    command = ["-A", APP, "agents", "replicate", "--compact", "--json"]
    young = celery(*command, env=fast.env)
    assert json.loads(young.stdout) == {"values": 0, "entries": 0}
    with engine.begin() as connection:
        connection.execute(update(Entry).values(at=Entry.at - 31 * 86_400.0))
    done = celery(*command, env=fast.env)
    assert json.loads(done.stdout) == {"values": 1, "entries": 2}
    assert store.read("", "counter", "visits").value == 6
    engine.dispose()


def test_a_source_that_is_away_is_asked_again(
    elsewhere: ReplicatedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Source("http://127.0.0.1:9", None)
    with pytest.raises(SourceAwayError, match="does not answer"):
        source.page(None)
    monkeypatch.setattr(replicating, "_WAIT_S", 0.0)
    found: list[Any] = [*islice(Replication(elsewhere, source).follow(), 3)]
    assert all("does not answer" in one.error for one in found)


@pytest.mark.parametrize(
    ("url", "key", "why"),
    [
        ("https://me:secret@eu.example.org", None, "no secrets"),
        ("http://eu.example.org", "ca_secret", "https alone"),
        ("postgresql://eu.example.org/x", None, "address of an API"),
        ("https://eu.example.org/?key=secret", None, "address of an API"),
        ("https://[::1", None, "address of an API"),
        ("https://eu.example.org:99999", None, "address of an API"),
        ("https://eu .example.org", None, "address of an API"),
        ("https://eu.example.org/\n", None, "address of an API"),
    ],
)
def test_addresses_that_are_refused(url: str, key: str | None, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why) as refused:
        Source(url, key)
    assert "secret@" not in str(refused.value)
