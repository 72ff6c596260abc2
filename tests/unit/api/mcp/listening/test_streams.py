"""Streams tell their client alone, of what it asked for."""

from __future__ import annotations

import asyncio
import math
from types import SimpleNamespace
from typing import Any

import pytest
from mcp.shared.exceptions import MCPError
from mcp.types import SubscriptionFilter
from redis.exceptions import ConnectionError as RedisConnectionError

from api.mcp.configured import Configured, ConfiguredPrompt
from api.mcp.listening import streams, subscribed
from api.mcp.listening.streams import Listening, Pipe
from api.mcp.listening.subscribed import URIS_MAX
from api.openai.catalog import ModelCatalog
from api.problems import ProblemError
from app.access.permissions import Principal, Role
from celery_agents.errors import JournalUnavailableError

ID = "io.modelcontextprotocol/subscriptionId"
OVER = ProblemError(401, "unauthorized", "It holds no longer.")


async def nothing() -> list[Any]:
    return []


class Stream:
    """A request that listens, and what it is told; its key holds until ``over``."""

    def __init__(self, request_id: Any = 7, role: Role = Role.USER) -> None:
        self.request_id, self.request, self.session = request_id, None, self
        self.params: dict[str, Any] = {}
        self.said: list[Any] = []
        self.heard, self.over = asyncio.Event(), False
        self.made = [Configured()]
        self.who = Principal(id="k", role=role, agents=("some",))
        self.under_way = SimpleNamespace(leaving=False)
        models = ModelCatalog({}, nothing)
        self.services = SimpleNamespace(models=models, under_way=self.under_way)

    async def send_notification(self, note: Any, **_: Any) -> None:
        self.said.append(note.model_dump(by_alias=True, exclude_none=True))
        self.heard.set()

    async def refusal(self) -> ProblemError | None:
        return OVER if self.over else None

    async def caller(self, _: Any) -> Any:
        return self

    async def told(self, number: int) -> list[Any]:
        """What it was told, once it is so much."""
        async with asyncio.timeout(60):  # who failed tells nothing
            while len(self.said) < number:
                self.heard.clear()
                await self.heard.wait()
        return self.said


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "LOOK_S", 0.0)


def asking(**about: Any) -> Any:
    return SimpleNamespace(notifications=SubscriptionFilter(**about))


def test_it_is_told_what_it_is_told_of_and_then_of_that() -> None:
    async def scene() -> None:
        stream = Stream()
        listening = Listening(stream.caller, lambda: stream.made[-1])
        uris = ["docs://a", *(f"docs://{n}" for n in range(URIS_MAX)), "docs://" + "x" * 2_000]
        asked = asking(prompts_list_changed=True, resource_subscriptions=uris)
        task = asyncio.create_task(listening.listen(stream, asked))
        (first,) = await stream.told(1)
        assert first["method"] == "notifications/subscriptions/acknowledged"
        honored = first["params"]["notifications"]
        assert honored == {"promptsListChanged": True, "resourceSubscriptions": uris[:URIS_MAX]}
        stream.made.append(Configured({"p": ConfiguredPrompt(text="hello")}))
        _, second = await stream.told(2)
        assert second["method"] == "notifications/prompts/list_changed"
        assert [one["params"]["_meta"][ID] for one in stream.said] == [7, 7]
        stream.over = True
        with pytest.raises(ProblemError, match="no longer"):
            await task

    asyncio.run(scene())


def test_it_ends_with_its_process() -> None:
    async def scene() -> None:
        stream = Stream()
        task = asyncio.create_task(Listening(stream.caller, Configured).listen(stream, asking()))
        await stream.told(1)
        assert not task.done()
        stream.under_way.leaving = True
        assert (await task).meta == {ID: 7}

    asyncio.run(scene())


def test_who_may_not_see_lists_is_told_of_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Principal, "may", lambda *_: False)

    async def scene() -> None:
        stream = Stream()
        listening = Listening(stream.caller, Configured)
        for message in (listening.listen, listening.subscribe, listening.unsubscribe):
            about = asking()
            about.uri = "docs://a"
            with pytest.raises(ProblemError) as refused:
                await message(stream, about)
            assert refused.value.status == 403

    asyncio.run(scene())


def test_what_cannot_be_told_is_refused() -> None:
    async def scene() -> None:
        stream = Stream(request_id=None)
        listening = Listening(stream.caller, Configured)
        with pytest.raises(MCPError):
            await listening.listen(stream, asking())
        stream.request = SimpleNamespace(headers={})  # type: ignore[assignment]
        with pytest.raises(MCPError, match="session"):
            await listening.subscribe(stream, SimpleNamespace(uri="docs://a"))
        for uri in ("docs://" + "x" * 2_000, "ended", "tools", "urn:one", ""):
            for message in (listening.subscribe, listening.unsubscribe):
                with pytest.raises(MCPError, match="characters"):
                    await message(stream, SimpleNamespace(uri=uri))

    asyncio.run(scene())


def test_what_is_no_address_is_not_told_of() -> None:
    async def scene() -> None:
        stream = Stream()
        listening = Listening(stream.caller, lambda: stream.made[-1])
        asked = asking(prompts_list_changed=True, resource_subscriptions=["prompts", "docs://a"])
        task = asyncio.create_task(listening.listen(stream, asked))
        (first,) = await stream.told(1)
        assert first["params"]["notifications"]["resourceSubscriptions"] == ["docs://a"]
        stream.made.append(Configured({"p": ConfiguredPrompt(text="hello")}))
        _, second = await stream.told(2)
        assert second["method"] == "notifications/prompts/list_changed"
        stream.over = True
        await asyncio.wait({task})

    asyncio.run(scene())


def test_while_nothing_can_be_seen_no_stream_begins() -> None:
    """What changed before the first look would be told to nobody."""

    async def away() -> list[Any]:
        raise JournalUnavailableError("away")

    async def scene() -> None:
        stream = Stream()
        stream.services = SimpleNamespace(models=ModelCatalog({}, away))
        listening = Listening(stream.caller, Configured)
        with pytest.raises(ProblemError) as refused:
            await listening.listen(stream, asking(tools_list_changed=True))
        assert refused.value.status == 503
        assert not stream.said

    asyncio.run(scene())


class Sessions:
    """The marks of one session in a Redis that may be ``away``, or take nothing (``full``)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.known: dict[str, str] = {}
        self.away, self.full, self.failed = False, False, 0
        self.asked = asyncio.Event()
        for name in ("marks", "remember"):
            monkeypatch.setattr(subscribed, name, getattr(self, name))

    def _check(self, *, wrong: bool) -> None:
        self.asked.set()
        if wrong:
            self.failed += 1
            raise RedisConnectionError("away")

    async def marks(self, *_: Any) -> dict[str, str]:
        """Those that are known."""
        self._check(wrong=self.away)
        return dict(self.known)

    async def remember(self, *about: Any) -> None:
        """Note what was told."""
        self._check(wrong=self.away or self.full)
        self.known |= about[-1]

    async def fails(self) -> None:
        """Wait until it has failed some times more."""
        before = self.failed
        while self.failed < before + 3:
            await self.turn()

    async def turn(self) -> None:
        """Wait until it is asked again."""
        self.asked.clear()
        await self.asked.wait()


def test_a_session_is_told_after_redis_was_away(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = Sessions(monkeypatch)
    monkeypatch.setattr(streams, "PING_S", math.inf)

    async def scene() -> None:
        stream = Stream()
        caller: Any = stream
        lines = Listening(stream.caller, lambda: stream.made[-1]).told(caller, "s")
        assert await anext(lines) == ": begins\n\n"
        coming = asyncio.ensure_future(anext(lines))
        while not sessions.known:
            await sessions.turn()
        sessions.away = True
        await sessions.fails()
        stream.made.append(Configured({"p": ConfiguredPrompt(text="hello")}))
        await sessions.fails()
        assert not coming.done()
        sessions.away, sessions.full = False, True
        assert "prompts/list_changed" in await coming
        coming = asyncio.ensure_future(anext(lines, "the end"))
        await sessions.fails()  # it is told once, though nobody can write down that it was
        assert not coming.done()
        sessions.full = False
        sessions.known["ended"] = "1"
        assert await coming == "the end"

    asyncio.run(scene())


def test_a_pipe_tells_though_its_first_looks_fail() -> None:
    async def scene() -> None:
        stream = Stream()
        errors = [JournalUnavailableError("away"), ProblemError(429, "rate_limited", "Wait.")]

        async def caller(_: Any) -> Any:
            if errors:
                raise errors.pop(0)
            return stream

        pipe = Pipe(caller, lambda: stream.made[-1])
        pipe.add("docs://0", "an earlier one")
        pipe.follow(stream)
        (first,) = await stream.told(1)
        assert first["params"]["uri"] == "docs://0"
        await pipe.close()
        errors.append(OVER)
        over = Pipe(caller, lambda: stream.made[-1])
        over.follow(stream)
        assert over._telling is not None
        await over._telling  # of a key that holds no longer nothing is tried again

    asyncio.run(scene())


def test_a_pipe_tells_of_so_much_and_ends() -> None:
    async def scene() -> None:
        stream = Stream()
        pipe = Pipe(stream.caller, lambda: stream.made[-1])
        for n in range(URIS_MAX):
            pipe.add(f"docs://{n}", "an earlier one")
        with pytest.raises(ProblemError) as many:
            pipe.add("docs://more", "")
        assert many.value.status == 429
        for n in range(1, URIS_MAX):
            pipe.drop(f"docs://{n}")
        pipe.follow(stream)
        pipe.follow(stream)
        (first,) = await stream.told(1)
        assert first["params"]["uri"] == "docs://0"
        await pipe.close()

    asyncio.run(scene())
