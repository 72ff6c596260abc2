"""Tries of SDKs: what stands in Redis of them, and who knows them again."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import pytest

from api.openai.retries import Tried, forget, run_of
from app.access.permissions import Principal, Role
from celery_agents.sealing import Seals
from tests.support.fernet import fernet_key

OLD, NEW = fernet_key("old"), fernet_key("new")
BODY = b'{"model": "gpt", "input": "the pin is 4711"}'


class Lists:
    """Lists of Redis."""

    def __init__(self) -> None:
        self.kept: dict[str, list[bytes]] = {}

    async def rpoplpush(self, key: str, _: str) -> bytes | None:
        known = self.kept.get(key)
        if not known:
            return None
        known.insert(0, known.pop())
        return known[0]

    async def lrem(self, key: str, _: int, told: str) -> None:
        if told.encode() in self.kept.get(key, []):
            self.kept[key].remove(told.encode())

    def pipeline(self, *, transaction: bool) -> Any:
        assert not transaction
        return self

    def rpush(self, key: str, told: str) -> None:
        self.kept.setdefault(key, []).append(told.encode())

    def ltrim(self, *_: Any) -> None:
        """Nothing is so long here."""

    def expire(self, *_: Any) -> None:
        """Nothing takes so long here."""

    async def execute(self) -> None:
        """All is done."""


def tried(seals: Seals | None, body: bytes = BODY, who: str = "k1") -> Tried:
    return Tried("tenant", "/v1/responses", body, Principal(id=who, role=Role.USER), seals)


def test_where_there_are_keys_nobody_without_them_confirms_a_guess() -> None:
    [plain] = tried(None).keys
    one, other = Seals([OLD]), Seals([NEW])
    names = {plain, *tried(one).keys, *tried(other).keys}
    assert len(names) == 3
    body = hashlib.sha256(BODY).hexdigest()
    guesses = [BODY, b"tenant\0k1\0/v1/responses\0" + BODY]
    guesses.append(f"tenant\0k1\0/v1/responses\0{body}".encode())
    known = {hashlib.sha256(guess).hexdigest() for guess in guesses}
    assert plain.rpartition(":")[2] in known
    for key in names - {plain}:
        assert key.rpartition(":")[2] not in {digest[:32] for digest in known}


@pytest.mark.parametrize("before", [None, Seals([OLD])])
def test_tries_are_known_again_while_keys_change(before: Seals | None) -> None:
    async def main() -> None:
        redis = Lists()
        after = None if before is None else Seals([NEW, OLD])
        first, known = await run_of(redis, tried(before), "0")
        assert (first is not None, known) == (True, False)
        assert await run_of(redis, tried(after), "1") == (first, True)
        others = (tried(after, b"other"), tried(after, who="k2"))
        for other in others:
            assert (await run_of(redis, other, "1"))[1] is False
        assert await run_of(redis, tried(after), None) == (None, False)
        await forget(redis, tried(after), str(first))
        assert (await run_of(redis, tried(after), "1"))[1] is False

    asyncio.run(main())
