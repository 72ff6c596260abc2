"""What the process that forks workers learns of the journal."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.sql.elements import ClauseElement

from tests.unit.app.journal import working
from tests.unit.app.journal.support import World

pytestmark = pytest.mark.databases("both")


def test_what_a_worker_starts_with_is_put_together_no_more(
    journal_url: str, second_journal_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    working.learn(journal_url)
    put_together = ClauseElement._compiler
    anew: list[str] = []

    def noted(self: ClauseElement, *args: Any, **kwargs: Any) -> Any:
        made = put_together(self, *args, **kwargs)
        anew.append(str(made))
        return made

    monkeypatch.setattr(ClauseElement, "_compiler", noted)
    world = World(second_journal_url)
    working.begin(world, world.journal())
    world.close()
    assert anew == []
