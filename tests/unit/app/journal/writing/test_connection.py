from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from app.journal.schema.engine import relaxed
from app.journal.schema.new_steps import columns_of
from app.journal.writing import prepared
from app.journal.writing.connection import _BY_INDEX, Held
from app.journal.writing.prepared import Shot
from tests.unit.app.journal.support import DONE, SOON, World, claimed, step

pytestmark = pytest.mark.postgres

CUT = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


@pytest.fixture
def world(emptied_postgres_url: str) -> Iterator[World]:
    made = World(emptied_postgres_url)
    made.add_worker(id="w")
    yield made
    made.close()


@pytest.fixture
def held(world: World) -> Iterator[Held]:
    made = Held(world.engine)
    yield made
    made.close()


def claim(step_id: str) -> Shot:
    new = step(step_id, task="t", queue="q", agent=None, payload={})
    return Shot(prepared.CLAIM, (*columns_of([new], ["{}"]), "w", 10.0), [step_id])


def expansion(step_id: str) -> Shot:
    join = ([step_id], [9], ["all"], [False], [1], [None], "running", 10.0)
    member = ([step_id], ["m"], ["k"], [0], ["t"], [None], ["{}"], [3], [None], ["ready"])
    return Shot(prepared.EXPAND, (*join, *member))


def no_call() -> Shot:
    return Shot(prepared.START_CALL, (["nobody"], [0], [1], ["m"], ["f"], ["k"], "running"))


def durability(connection: Connection) -> Any:
    return connection.execute(text("SHOW synchronous_commit")).scalar_one()


def insert_and_fail(connection: Connection) -> None:
    connection.execute(text("INSERT INTO duties (name, until) VALUES ('half', 1)"))
    connection.execute(text("INSERT INTO duties (name, until) VALUES ('half', 1)"))


def duties(world: World) -> int:
    with world.engine.connect() as c:
        return int(c.execute(text("SELECT count(*) FROM duties")).scalar_one())


def test_a_transaction_after_a_statement_is_one(world: World, held: Held) -> None:
    assert held.shoot([claim("s")]) == {"s": ("s",)}
    with pytest.raises(IntegrityError):
        held.transaction(insert_and_fail)
    assert duties(world) == 0


def test_a_connection_that_goes_back_commits_nothing_by_itself(world: World, held: Held) -> None:
    with pytest.raises(IntegrityError):
        held.shoot([no_call()])
    pool: Any = world.engine.pool
    assert pool.checkedin() == 1
    with pytest.raises(IntegrityError), world.engine.begin() as c:
        insert_and_fail(c)
    assert duties(world) == 0


def test_what_is_sent_together_is_written_together(world: World, held: Held) -> None:
    with pytest.raises(IntegrityError):
        held.shoot([no_call(), claim("s")])
    with world.engine.connect() as c:
        assert c.execute(text("SELECT count(*) FROM steps")).scalar_one() == 0
    assert held.shoot([claim("s")]) == {"s": ("s",)}
    assert held.shoot([claim("s")]) == {}  # nothing written, nothing said


@pytest.mark.parametrize("lax", [True, False])
def test_how_durable_it_is_after_a_new_connection_too(world: World, lax: bool) -> None:
    held = Held(relaxed(world.engine) if lax else world.engine)
    wanted = "off" if lax else "on"
    held.shoot([claim("s")])
    assert held.transaction(durability) == wanted
    with world.engine.connect() as c:
        c.execute(text(CUT))
    with pytest.raises(DBAPIError) as error:
        held.shoot([claim("t")])
    assert error.value.connection_invalidated
    assert held.shoot([claim("t")]) == {"t": ("t",)}
    assert held.transaction(durability) == wanted
    held.close()


def test_a_rollback_does_not_take_durability_back(world: World) -> None:
    """One connection serves both in turn."""
    with relaxed(world.engine).begin() as c:
        assert durability(c) == "off"
    with pytest.raises(IntegrityError), world.engine.begin() as c:
        insert_and_fail(c)
    with world.engine.begin() as c:
        assert durability(c) == "on"


def test_cut_connections_are_made_anew(world: World) -> None:
    journal = world.journal()
    claims = [claimed(journal, i, step(i)) for i in "ab"]
    for each in claims:
        with world.engine.connect() as c:
            c.execute(text(CUT))
        assert journal.finish(each, DONE).result(SOON).applied
    assert world.run("b").state == "succeeded"


def _forget(connection: Connection) -> None:
    connection.execute(text("DEALLOCATE ALL"))


def test_behind_a_pooler_all_are_transactions(world: World) -> None:
    """Each transaction has another connection then, which knows no statement of ours."""
    journal = world.journal()
    first = claimed(journal, "s", step())
    journal._writer._relaxed.transaction(_forget)
    assert claimed(journal, "t", step("t")).token == 1
    assert not journal._writer._relaxed.shoots
    assert claimed(journal, "u", step("u")).token == 1
    assert journal.finish(first, DONE).result(SOON).applied


NOTHING = (
    (
        "insert_steps('{s}', '{r}', '{p}', '{m}', '{0}', '{t}', '{a}', '{q}', '{5}', '{1}', '{1}', "
        "'{3}', '{1}', '{x}', '{f}', NULL, 1)"
    ),
    "take_steps('{s}', 'w', 'ready', 1)",
    (
        "expand_steps('{s}', '{9}', '{all}', '{f}', '{1}', '{1}', 'running', 1, "
        "'{s}', '{m}', '{k}', '{0}', '{t}', '{a}', '{ready}', '{1}', '{3}', '{1}')"
    ),
    "finish_members('{s}', '{9}', '{p}', '{succeeded}', '{1}', 'running', 1, '{r}')",
    "settle_steps('{s}', '{1}')",
    "finish_step('s', 9, 'running', '{}', 1, '{}')",
    "finish_steps('{s}', '{9}', 'running', '{1}', 1, '{1}')",
    "finish_flows('{s}', '{9}', 'running', '{1}', 1, '{1}', '{t}', '{flow/s}', '{[]}')",
    "finish_calls('{s}', '{0}', '{9}', '{1}', '{1}', '{1}')",
)


def whole(node: Any) -> Iterator[str]:
    """What of a plan reads a whole table, or a whole index over one."""
    by_key = "Index Cond" in node or node["Node Type"] == "Bitmap Heap Scan"
    if "Relation Name" in node and "Scan" in node["Node Type"] and not by_key:
        yield f"{node['Node Type']} on {node['Relation Name']}"
    for below in node.get("Plans", ()):
        yield from whole(below)


def kept(connection: Connection) -> list[str]:
    """The same of the plans that the server keeps, made as they are when statements are sent."""
    connection.execute(text("SET LOCAL plan_cache_mode = force_generic_plan"))
    connection.execute(text(_BY_INDEX))
    plans = [
        connection.execute(text(f"EXPLAIN (FORMAT JSON) EXECUTE {call}")).scalar_one()
        for call in NOTHING
    ]
    return [found for (plan,) in plans for found in whole(plan["Plan"])]


def test_plans_are_kept_with_their_indexes(postgres_journal_url: str) -> None:
    """However small the tables were when a plan was made: they grow, and it stays."""
    world = World(postgres_journal_url)
    world.add_worker(id="w")
    held = Held(world.engine)
    for told in (
        Shot(prepared.SETTLE, (["no"], [1])),
        Shot(prepared.INSERT, claim("none").values),
        Shot(prepared.TAKE, (["s"], "w", "ready", 0.25)),
        expansion("s"),
        Shot(prepared.FINISH_MEMBERS, (["s"], [9], ["p"], ["failed"], ["{}"], "running", 10.0, [])),
        Shot(prepared.FINISH_ONE, ("s", 9, "running", "{}", 10.0, "{}")),
        Shot(prepared.FINISH, (["s"], [9], "running", ["{}"], 10.0, ["{}"])),
        Shot(
            prepared.FINISH_FLOWS,
            (["s"], [9], "running", ["{}"], 10.0, ["{}"], ["t"], ["flow/s"], ["[]"]),
        ),
        Shot(prepared.FINISH_CALL, (["s"], [0], [9], ["{}"], ["{}"], [None])),
        Shot(
            prepared.POSTPONE,
            (["s"], [9], "running", ["{}"], [1.0], [9.0], [1], [None], ["limited"], ["{}"]),
        ),
    ):
        held.shoot([told])
    have = 0
    for rows in (0, 1, 20, 300):
        for n in range(have, rows):
            held.shoot([claim(f"s{n}")])
            held.shoot(
                [Shot(prepared.START_CALL, ([f"s{n}"], [0], [1], ["m"], ["f"], ["k"], "running"))]
            )
        have = rows
        with world.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as c:
            c.execute(text("VACUUM ANALYZE steps, runs, calls, joins"))
            fresh = c.execute(text("EXPLAIN UPDATE steps SET settled = true WHERE id = 's'")).all()
            assert ("Seq Scan" in str(fresh)) == (rows < 300)  # a plan that must not be kept
        assert held.transaction(kept) == []
    held.close()
    world.close()
