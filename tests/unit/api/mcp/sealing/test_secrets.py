"""Secrets of seals: random, the same in all processes, renewed while they are in use."""

from __future__ import annotations

import asyncio
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier

import pytest

from api.mcp.sealing.secrets import KEPT_S, KEY, RENEWED_S, SharedSecrets
from app.journal.schema.engine import connect
from app.journal.stores.memos import Memos
from celery_agents.errors import JournalUnavailableError
from tests.support.apart import apart
from tests.support.seals import KeptMemos, at_once, shared_secrets


class Clock:
    """Seconds since 1970."""

    def __init__(self) -> None:
        self.now = 1e9

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def memos() -> KeptMemos:
    return KeptMemos()


def test_two_processes_know_each_others_seals(memos: KeptMemos) -> None:
    async def scene() -> None:
        one, two = shared_secrets(memos), shared_secrets(memos)
        assert await two.knows("x", await one.seal("x"))
        assert await one.knows("y", await two.seal("y"))
        assert not await two.knows("y", await one.seal("x"))
        assert not await shared_secrets().knows("x", await one.seal("x"))

    asyncio.run(scene())


def test_what_is_configured_makes_no_seal(memos: KeptMemos) -> None:
    """A secret is random: two installations of the same settings know none of each other's."""

    async def scene() -> None:
        seals = [await shared_secrets().seal("x") for _ in range(20)]
        assert len({*seals}) == 20

    asyncio.run(scene())


def test_with_keys_the_journal_alone_makes_no_seal(memos: KeptMemos) -> None:
    async def scene() -> None:
        seal = await shared_secrets(memos, fernet=["k1"]).seal("x")
        assert await shared_secrets(memos, fernet=["k2", "k1"]).knows("x", seal)
        assert not await shared_secrets(memos, fernet=["k2"]).knows("x", seal)
        assert not await shared_secrets(memos).knows("x", seal)

    asyncio.run(scene())


def test_a_secret_is_renewed_and_older_seals_are_known_for_long(memos: KeptMemos) -> None:
    clock = Clock()

    async def scene() -> None:
        one, two = (shared_secrets(memos, clock=clock) for _ in range(2))
        first, kept = await one.seal("x"), [*memos.kept[KEY]["secrets"]]
        assert await two.seal("x") == first
        clock.now += RENEWED_S + 1
        second = await one.seal("x")
        assert second != first
        assert memos.kept[KEY]["secrets"][1:] == kept
        for process in (one, two, shared_secrets(memos, clock=clock)):
            assert await process.knows("x", first)
            assert await process.knows("x", second)
        while clock.now < 1e9 + KEPT_S + RENEWED_S:
            clock.now += RENEWED_S + 1
            await one.seal("x")
        assert not await one.knows("x", first)
        assert len(memos.kept[KEY]["secrets"]) <= 1 + KEPT_S / RENEWED_S

    asyncio.run(scene())


def test_a_seal_of_a_secret_that_was_made_meanwhile_is_known(memos: KeptMemos) -> None:
    clock = Clock()

    async def scene() -> None:
        here = shared_secrets(memos, clock=clock)
        await here.seal("x")
        there = shared_secrets(memos, clock=lambda: clock.now + RENEWED_S + 1)
        seal = await there.seal("x")
        clock.now += 2
        assert await here.knows("x", seal)

    asyncio.run(scene())


def test_who_guesses_has_the_journal_looked_at_once_a_second(memos: KeptMemos) -> None:
    clock = Clock()

    async def scene() -> None:
        process = shared_secrets(memos, clock=clock)
        for _ in range(50):
            assert not await process.knows("x", "0" * 32)
        assert memos.reads == 1
        clock.now += 1.5
        for _ in range(50):
            assert not await process.knows("x", "\ud800")
        assert memos.reads == 2

    asyncio.run(scene())


def test_known_secrets_go_on_while_the_journal_is_away(memos: KeptMemos) -> None:
    clock = Clock()

    async def scene() -> None:
        process = shared_secrets(memos, clock=clock)
        seal = await process.seal("x")
        memos.away = JournalUnavailableError("away")
        clock.now += 1_000
        assert await process.knows("x", seal)
        with pytest.raises(JournalUnavailableError):
            await shared_secrets(memos, clock=clock).seal("x")

    asyncio.run(scene())


def seals(url: str, begin: Barrier, told: SimpleQueue[str]) -> None:
    """Seal as one of several processes that begin at once."""
    memos = Memos(connect(url))
    begin.wait()
    told.put(asyncio.run(SharedSecrets(memos, at_once).seal("x")))


@pytest.mark.parametrize("of", ["sqlite_journal_url", "postgres_journal_url"])
def test_processes_that_begin_at_once_make_one_secret(
    request: pytest.FixtureRequest, of: str
) -> None:
    url = request.getfixturevalue(of)
    begin, told = apart.Barrier(3), apart.SimpleQueue()
    processes = [apart.Process(target=seals, args=(url, begin, told)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 3
    made_by_them = {told.get() for _ in processes}
    engine = connect(url)
    try:
        made = SharedSecrets(Memos(engine), at_once)
        assert {asyncio.run(made.seal("x"))} == made_by_them
    finally:
        engine.dispose()
