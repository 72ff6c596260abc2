"""Rows that are made by two at the same time."""

from __future__ import annotations

from typing import Any

import pytest

from app.journal.schema.engine import read_clock
from app.journal.schema.new_steps import row_of
from app.journal.steps.inserts import AcceptStep, InsertStep, insert_steps
from tests.unit.app.journal.support import SOON, OnPostgres, World, batch, meanwhile, step


class TestTwoOfTheSame(OnPostgres):
    @pytest.mark.parametrize("quick", [True, False])
    @pytest.mark.parametrize("kind", [InsertStep, AcceptStep])
    def test_they_wait_for_each_other_in_one_order(
        self, world: World, kind: type[InsertStep | AcceptStep], quick: bool
    ) -> None:
        """Whoever has made the first of both makes the second one, too, and waits for nobody."""
        journal = world.journal()

        def work() -> list[bool | None]:
            asked: list[Any] = [kind(step(name), 1.0) for name in ("z", "a")]
            if not quick:
                return batch(journal, *asked)
            return [f.result(SOON) for f in journal._writer.submit_all(asked)]

        with world.engine.connect() as other:
            insert_steps(other, [row_of(step("a"), read_clock(other), 1.0)])
            other.exec_driver_sql("SET LOCAL lock_timeout = '1ms'")  # it waits for nobody
            with meanwhile(world, work) as found:
                insert_steps(other, [row_of(step("z"), read_clock(other), 1.0)])
                other.commit()
        assert found == [[False, False] if kind is AcceptStep else [None, None]]
        assert world.row("a").state == world.row("z").state == "ready"
