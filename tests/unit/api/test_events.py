"""A stream that is held, as its process ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any

import pytest

from api import events
from api.events import held

MANY = 100


async def never_silent() -> AsyncGenerator[str, None]:
    """Lines of a stream of which the next one is always there."""
    number = 0
    while True:
        yield str(number)
        number += 1


@pytest.mark.parametrize("resumable", [True, False])
def test_one_that_is_never_silent_ends_with_its_process_if_it_has_a_way_back(
    monkeypatch: pytest.MonkeyPatch, *, resumable: bool
) -> None:
    async def holds(*_: Any) -> None:
        return None

    monkeypatch.setattr(events, "refusal", holds)
    services: Any = SimpleNamespace(under_way=SimpleNamespace(leaving=False))
    nobody: Any = None

    async def scene() -> list[str]:
        lines = held(nobody, services, nobody, never_silent(), str, resumable=resumable)
        found = [await anext(lines)]
        services.under_way.leaving = True
        async for line in lines:
            found.append(line)
            if len(found) == MANY:
                break
        return found

    assert len(asyncio.run(scene())) == (1 if resumable else MANY)
