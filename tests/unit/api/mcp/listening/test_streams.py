"""Streams tell their client alone, of what it asked for."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from mcp.shared.exceptions import MCPError
from mcp.types import SubscriptionFilter

from api.mcp.configured import Configured, ConfiguredPrompt
from api.mcp.listening import streams
from api.mcp.listening.streams import Listening, Pipe
from api.mcp.listening.subscribed import URIS_MAX
from api.openai.catalog import ModelCatalog
from api.problems import ProblemError
from app.access.permissions import Principal, Role

ID = "io.modelcontextprotocol/subscriptionId"
OVER = ProblemError(401, "unauthorized", "It holds no longer.")


async def nothing() -> list[Any]:
    return []


class Stream:
    """A request that listens, and what it is told; its key holds until ``over``."""

    def __init__(self, request_id: Any = 7, role: Role = Role.USER) -> None:
        self.request_id, self.request, self.session = request_id, None, self
        self.said: list[Any] = []
        self.heard, self.over = asyncio.Event(), False
        self.made = [Configured()]
        self.who = Principal(id="k", role=role, agents=("some",))
        self.services = SimpleNamespace(models=ModelCatalog({}, nothing))

    async def send_notification(self, note: Any, **_: Any) -> None:
        self.said.append(note.model_dump(by_alias=True, exclude_none=True))
        self.heard.set()

    async def refusal(self) -> ProblemError | None:
        return OVER if self.over else None

    async def caller(self, _: Any) -> Any:
        return self

    async def told(self, number: int) -> list[Any]:
        """What it was told, once it is so much."""
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
        with pytest.raises(MCPError, match="characters"):
            await listening.subscribe(stream, SimpleNamespace(uri="docs://" + "x" * 2_000))

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
