"""A step that journals in memory, and the fake model server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

import pytest

from agents.base import Answer
from tests.fakes.model_server import ModelServer, running


class MemoryStep:
    """A StepContext whose journal is a dict; `again()` is the step's next attempt."""

    step_id = "step-1"
    run_id = "run-1"

    def __init__(self) -> None:
        self.attempt = self.tries = 1
        self.calls: list[str] = []  # performed, in all attempts
        self.finished: dict[int, tuple[str, str, Answer]] = {}
        self.told: list[dict[str, object]] = []
        self._count = 0

    def again(self) -> MemoryStep:
        self.attempt += 1
        self.tries += 1
        self._count = 0
        return self

    async def call(
        self, name: str, perform: Callable[[str], Awaitable[Answer]], *, fingerprint: str = ""
    ) -> Answer:
        self._count += 1
        number = self._count
        known = self.finished.get(number)
        if known is not None and known[:2] == (name, fingerprint):
            return known[2]
        self.calls.append(name)
        answer = await perform(f"{self.step_id}-{number}")
        # As a journal does: what is kept is JSON.
        kept = Answer.model_validate_json(answer.model_dump_json())
        self.finished[number] = (name, fingerprint, kept)
        return kept

    async def progress(self, **fields: object) -> None:
        self.told.append(fields)


@pytest.fixture
def step() -> MemoryStep:
    return MemoryStep()


@pytest.fixture(scope="session")
def _model_server() -> Iterator[ModelServer]:
    with running() as server:
        yield server


@pytest.fixture
def server(_model_server: ModelServer) -> ModelServer:
    _model_server.script()
    return _model_server
