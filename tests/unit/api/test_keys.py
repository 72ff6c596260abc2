"""Keys are looked up every few seconds, once for all who ask."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from api.keys import KNOWN_S, KeyRing
from app.access.keys import digest, new_key
from app.access.permissions import Role


class Table:
    """Keys in memory; it counts looks."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self.looks = 0
        self.fails = False

    def find(self, key_id: str) -> dict[str, Any] | None:
        self.looks += 1
        if self.fails:
            raise RuntimeError("away")
        return self.rows.get(key_id)


async def call(work: Any, *args: Any) -> Any:
    await asyncio.sleep(0)
    return work(*args)


@pytest.fixture
def table() -> Table:
    return Table()


def made(table: Table, **about: Any) -> str:
    key, row = new_key("k", Role.USER, tenant="acme", by="me", grants=about.pop("grants", None))
    table.rows[row["id"]] = {**row, "left_s": None, **about}
    return key


def test_a_key_is_nowhere_but_in_its_hash(table: Table) -> None:
    key = made(table)
    (row,) = table.rows.values()
    secret = key.split("_", 2)[2]
    assert secret not in str(row)
    assert row["hash"] == digest(secret)


def test_one_look_for_all_who_ask_at_once(table: Table) -> None:
    key = made(table, grants={"agents": ["gpt*"], "runs_per_s": 3})

    async def main() -> None:
        ring = KeyRing(table, call)  # type: ignore[arg-type]
        found = await asyncio.gather(*(ring.check(key) for _ in range(20)))
        assert {(f.tenant, f.agents, f.runs_per_s) for f in found if f} == {("acme", ("gpt*",), 3)}
        assert table.looks == 1

    asyncio.run(main())


def test_a_revoked_key_holds_for_seconds(table: Table) -> None:
    key, now = made(table), 100.0

    async def main() -> None:
        nonlocal now
        ring = KeyRing(table, call, lambda: now)  # type: ignore[arg-type]
        assert await ring.check(key)
        table.rows.clear()
        now += KNOWN_S - 0.1
        assert await ring.check(key)
        now += 0.2
        assert await ring.check(key) is None
        assert KNOWN_S < 5

    asyncio.run(main())


def test_a_key_that_ends_soon_is_known_no_longer(table: Table) -> None:
    key, now = made(table, left_s=0.5), 100.0

    async def main() -> None:
        nonlocal now
        ring = KeyRing(table, call, lambda: now)  # type: ignore[arg-type]
        assert await ring.check(key)
        now += 0.6
        table.rows.clear()
        assert await ring.check(key) is None

    asyncio.run(main())


@pytest.mark.parametrize(
    "given", ["", "ca_", "ca_abcdefgh_short", "ca_ABCDEFGH_" + "x" * 43, "x" * 1000]
)
def test_what_is_no_key_is_not_looked_up(table: Table, given: str) -> None:
    ring = KeyRing(table, call)  # type: ignore[arg-type]
    assert asyncio.run(ring.check(given)) is None
    assert table.looks == 0


def test_another_secret_of_a_key(table: Table) -> None:
    key = made(table)
    ring = KeyRing(table, call)  # type: ignore[arg-type]
    assert asyncio.run(ring.check(key[:-43] + "x" * 43)) is None


def test_a_look_that_failed_is_made_again(table: Table) -> None:
    key = made(table)

    async def main() -> None:
        ring = KeyRing(table, call)  # type: ignore[arg-type]
        table.fails = True
        with pytest.raises(RuntimeError):
            await ring.check(key)
        table.fails = False
        assert await ring.check(key)

    asyncio.run(main())


def test_who_asks_first_and_goes_away_takes_nobody_with_him(table: Table) -> None:
    key = made(table)

    async def main() -> None:
        looking, goes_on = asyncio.Event(), asyncio.Event()

        async def slowly(work: Any, *args: Any) -> Any:
            looking.set()
            await goes_on.wait()
            return work(*args)

        ring = KeyRing(table, slowly)  # type: ignore[arg-type]
        first = asyncio.ensure_future(ring.check(key))
        await looking.wait()
        second = asyncio.ensure_future(ring.check(key))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait({first})
        goes_on.set()
        assert first.cancelled()
        assert await second is not None
        assert table.looks == 1

    asyncio.run(main())
