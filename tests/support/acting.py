"""Actors for the workers of the tests, with the agents that they ask."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from celery_agents import ActorContext, actor, agent


@agent
def gated(path: str) -> str:
    """Answers once a file is there."""
    until = time.monotonic() + 600  # of a busy machine
    while not Path(path).exists() and time.monotonic() < until:
        time.sleep(0.02)
    return "open"


@actor
class Account:
    """Money of one person."""

    cents: int = 0
    log: list[Any] = []  # noqa: RUF012 - each actor has its own

    async def deposit(self, me: ActorContext, cents: int) -> int:
        self.cents += cents
        return self.cents

    async def odd(self, me: ActorContext, how: str) -> Any:
        """Changes, tells and emits something, and fails."""
        self.cents += 1_000_000
        self.log.append("never")
        me.emit("odd", "emitted", {})
        me.actor("Account", "other").tell("deposit", 5)
        me.remind(0, "deposit", 7)
        match how:
            case "cancel":
                raise asyncio.CancelledError
            case "exit":
                raise SystemExit
            case "state":
                self.log = object()  # type: ignore[assignment]
            case "answer":
                return object()
            case "reads":
                await asyncio.to_thread(time.sleep, 0)
            case _:
                raise ValueError(how)
        return None

    async def pay(self, me: ActorContext, to: str, cents: int) -> int:
        self.cents -= cents
        me.emit("payments", "paid", {"to": to, "cents": cents})
        me.actor("Account", to).tell("deposit", cents)
        return self.cents

    async def pull(self, me: ActorContext, of: str, cents: int) -> int:
        left: int = await me.actor("Account", of).ask("pay", me.key, cents)
        self.log.append(left)
        return left

    async def gate(self, me: ActorContext, path: str) -> str:
        answer: str = await me.ask("gated", path)
        self.log.append(answer)
        return answer

    async def around(self, me: ActorContext, keys: list[Any]) -> Any:
        """Asks the next one to ask the next one, and so on."""
        return await me.actor("Account", keys[0]).ask("around", keys[1:]) if keys else "end"

    async def across(self, me: ActorContext, path: str, to: str) -> Any:
        await me.ask("gated", path)
        return await me.actor("Account", to).ask("deposit", 1)

    async def later(self, me: ActorContext, after_s: float, cents: int) -> str:
        return me.remind(after_s, "deposit", cents)

    async def loop(self, me: ActorContext, most: int) -> None:
        """Reminds itself at once, again and again, until it has so much."""
        self.cents += 1
        if self.cents < most:
            me.remind(0, "loop", most)

    async def astray(self, me: ActorContext) -> None:
        me.actor("Nobody", "x").tell("deposit", 1)
