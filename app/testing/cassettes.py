"""Cassettes: calls that a run has made, in a file, from which a test has them answered.

A line is a call that succeeded: who made it, its name, its identity (a digest of what was asked),
its answer. Secrets are replaced in all of it. A call is found by its agent, its name and its
identity; so a test whose agent asks anything else is told so, and no model is asked instead.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, Protocol

from pydantic import ValidationError

from agents.performing import Perform, performed
from app.execution.calls.calls import StepCalls
from app.journal.queries.taped import CassetteLine, shown
from celery_agents.contracts.outcome import Answer
from celery_agents.errors import AgentFailedError, ConfigurationError


def read(path: Path) -> list[CassetteLine]:
    """The lines of a cassette.

    Raises:
        ConfigurationError: the file cannot be read, or has other lines.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"The cassette {path} cannot be read: {error}") from None
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(CassetteLine.model_validate_json(line))
        except ValidationError as error:
            why = error.errors(include_url=False, include_input=False)[0]["msg"]
            raise ConfigurationError(f"{path}, line {number} is no call: {why}.") from None
    return found


class Tape(Protocol):
    """A cassette that is played, for one process or several."""

    def playing(self) -> tuple[str, list[CassetteLine]] | None:
        """Its name and its lines; None: none is played."""
        ...

    def times(self, agent: str, identity: str) -> int:
        """Count a call that is found there: the how-manieth of its identity it is, from 1."""
        ...


class MemoryTape:
    """A cassette for this process alone."""

    def __init__(self, path: Path) -> None:
        self._playing = (path.name, read(path))
        self._times: Counter[tuple[str, str]] = Counter()

    def playing(self) -> tuple[str, list[CassetteLine]] | None:
        """Its name and its lines."""
        return self._playing

    def times(self, agent: str, identity: str) -> int:
        """Count a call."""
        self._times[agent, identity] += 1
        return self._times[agent, identity]


#: Keys of a cassette in the Redis of a stack.
_PLAYED, _TIMES = "agents:testing:cassette", "agents:testing:cassette:times"


class SharedTape:
    """A cassette in the Redis of a stack."""

    def __init__(self, client: Any) -> None:
        self._redis = client

    @contextmanager
    def played(self, path: Path) -> Iterator[None]:
        """Have the workers answer from it, until the block ends."""
        lines = [line.model_dump(mode="json") for line in read(path)]
        self._redis.set(_PLAYED, json.dumps([path.name, lines]))
        try:
            yield
        finally:
            self._redis.delete(_PLAYED, _TIMES)

    def playing(self) -> tuple[str, list[CassetteLine]] | None:
        """Its name and its lines."""
        if (told := self._redis.get(_PLAYED)) is None:
            return None
        name, lines = json.loads(told)
        return name, [CassetteLine.model_validate(line) for line in lines]

    def times(self, agent: str, identity: str) -> int:
        """Count a call."""
        return int(self._redis.hincrby(_TIMES, f"{agent}:{identity}", 1))


def answered(
    tape: Tape, agent: str, step_id: str, call: tuple[str, str], asked: Any
) -> Answer | None:
    """The answer of a cassette to a call, by its name and its key; None: none is played.

    Of calls of one identity, by several steps, each gets the next answer; the last one repeats.

    Raises:
        AgentFailedError: the cassette does not know it.
    """
    if (playing := tape.playing()) is None:
        return None
    (title, lines), (name, key) = playing, call
    known = [
        line
        for line in lines
        if (line.agent, line.call) == (agent, name) and line.is_of(step_id, key)
    ]
    if not known:
        raise AgentFailedError(_missing(title, lines, agent, name, shown(asked)))
    place = min(tape.times(agent, known[0].identity), len(known)) - 1
    return Answer.model_validate(known[place].answer)


def _missing(title: str, lines: Sequence[CassetteLine], agent: str, name: str, asked: str) -> str:
    told = f"The cassette {title} does not know this call: {_words(agent, name, asked)}. "
    if not lines:
        return told + "It has none at all."

    def near(line: CassetteLine) -> tuple[bool, bool, float]:
        like = SequenceMatcher(None, line.asked, asked).ratio()
        return line.agent == agent, line.call == name, like

    best = max(lines, key=near)
    told += f"The nearest that it has is {_words(best.agent, best.call, best.asked)}. "
    return told + "What is asked has changed since it was recorded: delete it to record it anew."


def _words(agent: str, name: str, asked: str) -> str:
    return f"{name} of {agent}, asked {asked!r}"


def play_calls(tape: Tape) -> None:
    """Have the steps of this process get the answers of calls from a cassette while one plays."""
    make = StepCalls.make

    async def played(self: StepCalls, name: str, perform: Perform, **about: Any) -> Answer:
        async def answer(key: str) -> Answer:
            claim = self._claim
            payload: Any = claim.payload
            args = payload.get("args") or [payload.get("kwargs", {}).get("input")]
            found = answered(tape, claim.agent or "", claim.id, (name, key), args[0])
            return await performed(name, perform, key) if found is None else found

        return await make(self, name, answer, **about)

    of_class: Any = StepCalls  # of a process that tests start, for its life
    of_class.make = played
