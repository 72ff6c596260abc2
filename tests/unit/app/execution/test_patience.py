from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.execution import patience
from app.execution.patience import NotWrittenError, keep_trying
from celery_agents.errors import (
    AnswerTooLargeError,
    JournalUnavailableError,
    LoopStalledError,
)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "JOURNAL_PAUSE_S", (0.0, 0.0))


def tried(*errors: Exception | None) -> str:
    """Keep trying a write that fails with these, one after the other."""
    left: Iterator[Exception | None] = iter(errors)

    def write() -> str:
        if (error := next(left)) is not None:
            raise error
        return "written"

    return keep_trying("s", write)


@pytest.mark.parametrize("error", [JournalUnavailableError("away"), LoopStalledError()])
def test_what_says_nothing_against_the_write_does_not_fail_it(error: Exception) -> None:
    """The journal's absence, and the watchdog's interruption, which was meant for the step."""
    assert tried(error, error, None) == "written"


@pytest.mark.parametrize("error", [AnswerTooLargeError("much"), ValueError("odd")])
def test_a_refusal_is_one(error: Exception) -> None:
    with pytest.raises(NotWrittenError, match=str(error)):
        tried(error)


def test_it_is_away_for_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "JOURNAL_PATIENCE_S", -1.0)
    with pytest.raises(JournalUnavailableError):
        tried(JournalUnavailableError("away"), None)
