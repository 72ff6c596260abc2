"""Steps that remember, while their workers are killed and the broker is emptied."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from app.journal.schema.models import MemoryRow, Step, table
from celery_agents import Run
from tests.chaos.agents import LENGTH
from tests.chaos.audit import audit
from tests.chaos.scenario import Numbers, scenario
from tests.chaos.scenarios.load import strike
from tests.chaos.stand import PATIENT, STUCK_S, Stand, eventually, kept_running
from tests.support.spaces import check_spaces

WORKERS = 3
#: Spaces of each memory, which many write to at once.
SPACES = 5
#: Steps of a team, of which each remembers; of one that fails another one does not.
TEAM = 3
#: Of so many runs one is a team; of so many one fails.
TEAMS, FAILS = 4, 5
_CONFIG = """
[memory.facts]
space = "facts/{who}"

[memory.notes]
space = "notes/{who}"
capacity_tokens = 1_000
"""


@scenario("memory")
def memory(stand: Stand) -> Numbers:
    """Faults come evenly over the work: each memory of a run that succeeds once, of others none."""
    config = stand.stack.directory / "agents.toml"
    config.write_text(_CONFIG)
    stand.stack.env |= {"AGENTS_CONFIG": str(config)}
    faults = ["kill"] * stand.size(40, 2) + ["wipe"] * stand.size(3, 1)
    stand.rng.shuffle(faults)
    workers, done, began = stand.workers(stand.size(WORKERS, 2)), Counter[str](), time.monotonic()
    steps = stand.size(2_000, 60)
    with kept_running(workers):
        runs, right = _asked(stand, steps)
        for place, fault in enumerate(faults, 1):
            _wait_acts(stand, runs, place * steps // (len(faults) + 2))
            done[strike(fault, stand, workers)] += 1
        stand.let_end()
        again = stand.wait_ended(runs, timeout_s=stand.size(300, 120))
    roots = {row.id: row.state for row in stand.rows(Step.id, Step.state, Step.parent_id)}
    assert [roots[run.id] for run in runs] == right, "a run has ended otherwise than it was told"
    figures = _check(stand, {run.id for run in runs if roots[run.id] == "succeeded"})
    took_s = time.monotonic() - began
    told = {"runs": len(runs), "steps": steps, **done, "sent_again_by_clients": again}
    return {**told, **figures, "took_s": took_s, **audit(stand)}


def _asked(stand: Stand, steps: int) -> tuple[list[Run[Any]], list[str]]:
    """Ask until so many steps remember; the runs, with the states in which they are to end.

    The last of them waits for the last fault.
    """
    runs: list[Run[Any]] = []
    right: list[str] = []
    while steps > 0:
        number, fails = len(runs), len(runs) % FAILS == 0
        about: Any = {"scope": {"who": f"w{number % SPACES}"}, "retry": PATIENT}
        if number % TEAMS == 1 and steps > TEAM:
            others = ["refuses"] if fails else []
            team = ["learns"] * TEAM + others
            runs.append(stand.client.gather(team, {"n": number}, at_least=len(team), **about))
            steps -= TEAM
        else:
            steps -= 1
            order: Any = {"n": number, "fails": fails, **(stand.held if steps == 0 else {})}
            runs.append(stand.client.ask("learns", order, **about))
        right.append("failed" if fails else "succeeded")
    return runs, right


def _wait_acts(stand: Stand, runs: Sequence[Run[Any]], wanted: int) -> None:
    """Wait until so many steps have acted; messages that were lost are sent again meanwhile."""

    def enough() -> bool:
        stand.send_again(runs)
        return len({step_id for _, step_id, *_ in stand.counted()}) >= wanted

    eventually(enough, f"{wanted} steps", timeout_s=STUCK_S)


def _check(stand: Stand, succeeded: set[str]) -> dict[str, int]:
    """Hold memories against the steps that ended, by the journal's own rows of both."""
    asked = stand.rows(Step.id, Step.run_id, Step.agent, Step.state)
    learned = [s for s in asked if s.agent == "learns" and s.state == "succeeded"]
    wanted = {
        f"{kind} of {step.id}{length}": kind
        for step in learned
        if step.run_id in succeeded
        for kind, length in (("draft", ""), ("fact", ""), ("note", LENGTH))
    }
    rows = stand.rows(*table(MemoryRow).columns)
    everybodys = [row for row in rows if row.state != "private"]
    found = Counter(row.data["text"] for row in everybodys)
    twice = [text for text, times in found.items() if times > 1]
    assert not twice, f"{len(twice)} memories stand twice: {twice[:3]}"
    strange = found.keys() - wanted.keys()
    assert not strange, f"{len(strange)} memories of runs that have not succeeded: {[*strange][:3]}"
    lost = wanted.keys() - found.keys()
    assert not lost, f"{len(lost)} memories are lost: {[*lost][:3]}"
    states = Counter((wanted[row.data["text"]], row.state) for row in everybodys)
    assert not states["fact", "over"], "a fact has ended that nothing has replaced"
    assert not states["draft", "live"], "a draft was replaced, and is not over"
    leaked = {row.run_id for row in rows if row.state == "private"} & succeeded
    assert not leaked, f"{len(leaked)} runs have succeeded, and keep memories to themselves"
    assert states["note", "over"], "no space was ever full"
    live = stand.stack.read(check_spaces)
    return {
        "memories": len(everybodys),
        "everybodys_now": live,
        "ended_for_capacity": states["note", "over"],
        "of_failed_runs_alone": len(rows) - len(everybodys),
    }
