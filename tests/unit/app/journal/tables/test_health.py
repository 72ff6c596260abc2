from __future__ import annotations

from app.journal import Journal
from app.journal.schema.models import Health
from app.journal.tables import health
from tests.unit.app.journal.support import OnPostgres, World, meanwhile


def row(state: str) -> dict[str, object]:
    return {"target": "broker", "state": state, "since": 0.0, "checked_at": 0.0}


class TestTwoProbes(OnPostgres):
    def test_at_once_they_are_both_written_down_and_the_last_one_stands(
        self, world: World, journal: Journal
    ) -> None:
        write = lambda: journal.transaction(lambda c: health.replace(c, [row("down")])) or True  # noqa: E731
        with world.engine.connect() as c:
            first = c.begin()
            health.replace(c, [row("healthy")])
            with meanwhile(world, write):
                first.commit()
        assert world.one(Health, Health.target == "broker").state == "down"
