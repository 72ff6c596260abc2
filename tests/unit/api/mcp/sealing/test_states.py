"""States and places are given back by their principal alone."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.shared.exceptions import MCPError

from api.mcp.sealing.states import is_sealed, opened, sealed, with_seal
from tests.support.seals import KeptMemos, shared_secrets

RUN = "01a229d0-9885-7745-af58-a5d787c6d826"
ONE, OTHER = KeptMemos(), KeptMemos()


def caller(who: str = "key:a", journal: KeptMemos = ONE) -> Any:
    """A caller of a process that has just started."""
    services = SimpleNamespace(seals=shared_secrets(journal))
    return SimpleNamespace(who=SimpleNamespace(id=who), services=services)


def test_a_state_is_of_its_request_and_principal() -> None:
    about = ["tools/call", ["greet", {"b": 1, "a": 2}]]

    async def scene() -> None:
        state = await sealed(caller(), RUN, about, {"name": "one"})
        same = ["tools/call", ["greet", {"a": 2, "b": 1}]]
        run_id, marks = await opened(caller(), state, same)
        assert (run_id, len(marks)) == (RUN, 1)
        assert state != await sealed(caller(), RUN, about, {"name": "two"})
        others: list[tuple[Any, str, Any]] = [
            (caller("key:b"), state, about),
            (caller(journal=OTHER), state, about),
            (caller(), state, ["tools/call", ["greet", {}]]),
            (caller(), f"{state}-TAMPERED", about),
            (caller(), f"{'0' * 36}{state[36:]}", about),
            (caller(), RUN, about),
            (caller(), "", about),
        ]
        for who, told, of in others:
            with pytest.raises(MCPError, match="none of this request"):
                await opened(who, told, of)

    asyncio.run(scene())


@given(st.text())
def test_a_text_is_no_state(told: str) -> None:
    with pytest.raises(MCPError):
        asyncio.run(opened(caller(), told, None))


@given(st.text(), st.sampled_from(["/", "."]))
def test_a_place_is_given_back_as_it_was(place: str, sign: str) -> None:
    async def scene() -> None:
        told = await with_seal(caller(), place, sign=sign)
        assert await is_sealed(caller(), told, sign=sign) == place
        assert await is_sealed(caller("key:b"), told, sign=sign) is None

    asyncio.run(scene())
