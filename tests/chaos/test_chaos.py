"""The suite that kills, in its short form: small numbers, a fixed seed, three at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import pytest

from tests.chaos import scenarios
from tests.chaos.scenario import SCENARIOS, Result, run_scenario
from tests.chaos.stand import Options
from tests.support.drawn import costly, is_full
from tests.support.postgres import binaries

assert scenarios  # imported for what it registers

BRIEF = Options(steps=costly(600), kills=8 if is_full() else 3, wipes=1, seed=1, brief=True)
#: What is run: every scenario in the default pool, on SQLite unless it names PostgreSQL; in full
#: the main one with processes on PostgreSQL, too, and that of memories, whose statements differ.
CASES = {name: (name, BRIEF) for name in SCENARIOS}
if is_full():
    CASES["load-postgres-prefork"] = ("load", replace(BRIEF, journal="postgres", pool="prefork"))
    CASES["memory-postgres"] = ("memory", replace(BRIEF, journal="postgres"))
#: Scenarios mostly wait; so many at once keep the whole within three minutes on two cores.
AT_ONCE = 3


@pytest.fixture(scope="module")
def results(request: pytest.FixtureRequest) -> Iterator[dict[str, Future[Result]]]:
    """The scenarios of the tests that were chosen, under way."""
    # Of these the processes that fork know the statements of journals.
    request.getfixturevalue("_migrated_sqlite")
    if binaries() is not None:
        request.getfixturevalue("_migrated_postgres")
    chosen: list[str] = [
        str(item.callspec.params["case"])
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.path == request.path
    ]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {case: pool.submit(_run, case) for case in chosen}
        pool.shutdown(cancel_futures=True)


def _run(case: str) -> Result:
    name, options = CASES[case]
    return run_scenario(SCENARIOS[name], options)


@pytest.mark.slow
@pytest.mark.timeout(300)  # most of it for those before it
@pytest.mark.parametrize("case", CASES)
def test_scenario(case: str, results: dict[str, Future[Result]]) -> None:
    result = results[case].result()
    print(result)
    if result.verdict == "skipped" and not os.environ.get("CI"):
        pytest.skip(result.reason)
    assert result.verdict == "passed", str(result)
