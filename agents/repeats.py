"""The same question to the same agent, in one run: which earlier turn has its answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agents.values import digest
from celery_agents.contracts.ask import CAPS
from celery_agents.contracts.outcome import State

#: Options that say how a question is asked, and not which one it is.
_HOW = frozenset({*CAPS, "budget", "stream", "retry", "timeout_s", "deadline_s", "repeats"})


@dataclass(frozen=True, slots=True)
class AskedTurn:
    """A turn of a run: what it is about, and whose answer it waits for."""

    id: str
    parent_id: str | None
    about: str
    state: State
    same_as: str | None = None


def about_of(payload: Mapping[str, Any]) -> str:
    """A digest of what is asked of whom; how it is asked does not matter."""
    asked = {name: value for name, value in payload["kwargs"].items() if name not in _HOW}
    return digest([payload["args"], asked])


def same_turn(about: str, asking: str, turns: Sequence[AskedTurn]) -> str | None:
    """Return the id of a turn that has the answer already, or will have it; None: nobody has.

    One that has succeeded comes first. One that is under way is none while it waits, by others, for
    the step that asks: both would wait for ever.
    """
    same = [turn for turn in turns if turn.about == about]
    done = next((turn.id for turn in same if turn.state is State.SUCCEEDED), None)
    if done is not None:
        return done
    waits = _waits(turns)
    open_ = (turn.id for turn in same if not turn.state.final)
    return next((turn for turn in open_ if not _waits_for(turn, asking, waits)), None)


def _waits(turns: Sequence[AskedTurn]) -> dict[str, list[str]]:
    """Turns under way, with those that they wait for: their members, and whose answer they take."""
    found: dict[str, list[str]] = {}
    for turn in turns:
        if not turn.state.final:
            found.setdefault(turn.id, []).extend([turn.same_as] if turn.same_as else [])
            if turn.parent_id is not None:
                found.setdefault(turn.parent_id, []).append(turn.id)
    return found


def _waits_for(turn: str, asking: str, waits: Mapping[str, Sequence[str]]) -> bool:
    seen, todo = set[str](), [turn]
    while todo:
        one = todo.pop()
        if one == asking:
            return True
        if one not in seen:
            seen.add(one)
            todo.extend(waits.get(one, ()))
    return False
