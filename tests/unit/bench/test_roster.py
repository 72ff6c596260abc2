"""Every contestant and every workload is what the bench takes it for."""

from __future__ import annotations

import ast
import json
import re

import pytest

from bench import roster, workloads
from bench.contestant import Contestant
from deploy.local.state import ROOT

#: What a contestant's driver must be able to do for a workload.
NEEDS = {
    "noop": "steps",
    "roundtrip": "steps",
    "waiting": "steps",
    "chain": "chains",
    "flow": "flow",
    "fanout": "fan_out",
    "vote": "votes",
    "samples": "panels",
    "enqueue": "enqueue",
    "recovery": "recovery",
    "growth": "grow",
}
every_contestant = pytest.mark.parametrize("one", roster.ALL, ids=lambda one: one.name)


def test_names_are_unique() -> None:
    names = [one.name for one in roster.ALL]
    assert len(names) == len(set(names))
    assert set(NEEDS) == set(workloads.NAMES)


@pytest.mark.parametrize("name", workloads.NAMES)
def test_a_workload_has_the_name_of_its_module(name: str) -> None:
    assert workloads.workload(name).name == name


@every_contestant
def test_takes_part_in_workloads_that_there_are(one: Contestant) -> None:
    assert one.workloads
    assert one.workloads <= set(workloads.NAMES)


@every_contestant
def test_its_driver_has_what_its_workloads_need(one: Contestant) -> None:
    path = ROOT / "bench" / "contestants" / one.family / "driver.py"
    tree = ast.parse(path.read_text())  # its libraries are in another environment
    [driver] = [n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Driver"]
    methods = {n.name for n in driver.body if isinstance(n, ast.FunctionDef)}
    assert {NEEDS[name] for name in one.workloads} <= methods


@every_contestant
@pytest.mark.parametrize("quick", [True, False])
def test_its_cases_can_be_told_as_json(one: Contestant, quick: bool) -> None:
    for name in one.workloads:
        cases = workloads.workload(name).cases(one, quick)
        assert json.loads(json.dumps(cases)) == cases
        assert len(cases) == len({json.dumps(case) for case in cases})
        for case in cases:
            assert all(isinstance(c, list) for c in one.workers("python", name, case))
            assert isinstance(one.settings(name, case), str)


@every_contestant
def test_its_packages_are_pinned_and_told(one: Contestant) -> None:
    assert all(re.fullmatch(r"[a-z-]+(\[[a-z,]+\])?==[\d.]+", pin) for pin in one.requires)
    assert one.packages
    assert bool(one.requires) == (one.family not in {"ours", "celery"})


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (["ours-sqlite"], {"ours-sqlite"}),
        (["ours"], {"ours-sqlite", "ours-postgres"}),
        (["ours-postgres", "saq"], {"ours-postgres", "saq"}),
        (["celery", "celery-threads"], {"celery-threads", "celery-prefork"}),
    ],
)
def test_contestants_are_chosen_by_the_beginning_of_their_names(
    asked: list[str], found: set[str]
) -> None:
    assert {one.name for one in roster.chosen(asked)} == found


@pytest.mark.parametrize("name", ["our", "ours-", "huey", ""])
def test_a_name_that_is_nobodys_is_an_error(name: str) -> None:
    with pytest.raises(ValueError, match="There is no contestant"):
        roster.chosen([name])
