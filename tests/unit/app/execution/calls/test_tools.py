"""Tools within steps, on a real journal: what their calls write."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from sqlalchemy import event, func, select

from agents.tools.calls import ToolCall
from agents.tools.running import Running
from agents.tools.toolbox import Toolbox
from agents.tools.toolset import FunctionToolset
from app.execution.attempts.attempt import Received, attempted
from app.execution.attempts.ends import Ended
from app.execution.context import Step
from app.execution.runtime import Active, Runtime
from app.journal.schema.models import Call
from app.journal.schema.rows import NewStep
from app.journal.writing.operation import Operation
from app.settings import Settings
from celery_agents.contracts.ask import StepOptions
from celery_agents.contracts.outcome import State
from tests.support.drawn import costly
from tests.support.idle_tools import looks, notes

STEPS, CALLS = costly(200), 20
pytestmark = pytest.mark.databases("both")


@pytest.fixture
def settings(database_url: str, settings: Settings) -> Settings:
    about = {"database_url": database_url, "heartbeat_interval_s": 1}  # longer than a lease
    return Settings.model_validate(settings.model_dump() | about)


class Code:
    """A kind of step whose code calls a tool, all in one reply and each in one of its own."""

    name = "test"

    def __init__(self, used: str) -> None:
        self._used = used
        self._box = Toolbox(FunctionToolset("desk", looks, notes), list_timeout_s=1)

    async def run(self, step: Step, _: StepOptions) -> list[Any]:
        running = Running(await self._box.offered(step), step)
        calls = [ToolCall(id=str(n), name=self._used, arguments={"n": n}) for n in range(CALLS)]
        half = CALLS // 2
        found = [await running.answer(calls[:half])]
        found += [await running.answer([call]) for call in calls[half:]]
        return [result.value for results in found for result in results]  # type: ignore[union-attr]  # nobody is asked

    def is_brief(self, _: Any) -> bool:
        return False

    def parse(self, args: Any, kwargs: Any, *, known: bool = False) -> StepOptions:
        return StepOptions.from_message(args, kwargs, known=known)


def written(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, used: str, steps: int
) -> tuple[Counter[str], list[str]]:
    """The writes of steps by their kinds, and the statements that went beside them."""
    writes, sent = Counter[str](), list[str]()
    plain = runtime.journal._writer.submit

    def submit(operation: Operation[Any]) -> Any:
        writes[type(operation).__name__] += 1
        return plain(operation)

    def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    monkeypatch.setattr(runtime.journal._writer, "submit", submit)
    event.listen(runtime.journal.engine, "before_cursor_execute", note)
    for n in range(steps):
        payload: dict[str, Any] = {"args": [1], "kwargs": {}}
        new = NewStep(f"{used}{n}", f"{used}{n}", "test", "agents", payload, max_attempts=1)
        code = Code(used)
        ending = attempted(runtime, code, Received(new.id, new, code.parse([1], {})), Active())
        assert isinstance(ending, Ended)
        assert (ending.outcome.state, ending.outcome.value) == (State.SUCCEEDED, [*range(CALLS)])
    event.remove(runtime.journal.engine, "before_cursor_execute", note)
    return writes, sent


def test_pure_tools_write_nothing_but_the_claim_and_the_end(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes, sent = written(runtime, monkeypatch, "looks", STEPS)
    assert writes == {"ClaimStep": STEPS, "FinishStep": STEPS}
    assert not [s for s in sent if "calls" in s.lower()]
    with runtime.journal.engine.connect() as c:
        assert c.execute(select(func.count()).select_from(Call)).scalar_one() == 0


def test_others_write_each_call(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """So what is counted above would be seen."""
    writes, _ = written(runtime, monkeypatch, "notes", 2)
    assert (writes["StartCall"], writes["FinishCall"]) == (2 * CALLS, 2 * CALLS)
