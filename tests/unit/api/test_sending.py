"""Runs that are accepted together, by a journal that hangs."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from api import sending
from api.sending import Posting, Sending
from app.concurrency.future import Future
from celery_agents import Client
from celery_agents.contracts.ask import Ask
from celery_agents.errors import JournalUnavailableError


class HangingDesk:
    """A journal that answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[list[Future[bool]]] = []
        self.hangs = True

    def accept(self, rows: Any) -> list[Future[bool]]:
        self.asked.append([Future() for _ in rows])
        if not self.hangs:
            self.answer()
        return self.asked[-1]

    def answer(self) -> None:
        for reply in self.asked[-1]:
            reply.set_result(True)


def test_while_the_journal_hangs_no_more_is_queued_for_it(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be written all the same, long after whoever asked was told that it is away."""

    async def publish(messages: Any) -> None:
        sent.extend(messages)

    async def look() -> None:
        return None

    async def main() -> None:
        parts: Any = SimpleNamespace(publish_async=publish), desk, None, None
        sends = Sending(*parts, journaled=True, backlog_max=10)
        monkeypatch.setattr(sends, "_look", look)

        def order() -> Posting:
            message: Any = client.ask("noop", 1).message
            return Posting(message, Ask(agent="noop", input=1), keyed=False)

        monkeypatch.setattr(sending, "_ACCEPTED_S", 0.05)
        for _ in range(3):
            with pytest.raises(JournalUnavailableError):
                await sends.send(order())
        assert len(desk.asked) == 1
        assert sent == []
        desk.answer()
        monkeypatch.setattr(sending, "_ACCEPTED_S", 600.0)
        desk.hangs = False
        assert await sends.send(order()) is False
        assert len(sent) == 1

    desk, sent = HangingDesk(), list[Any]()
    with Client(redis_url) as client:
        asyncio.run(main())
