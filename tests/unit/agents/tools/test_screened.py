"""Tools of a model that sees marks: they get what is meant, and it sees marks in their results."""

from __future__ import annotations

import asyncio
from typing import Any

from agents.base import Turn
from agents.guarding.pii import PersonalData
from agents.guarding.screening import Screen, TextGuard
from agents.guarding.words import Words
from agents.tools import FunctionToolset
from agents.tools.base import tool
from agents.tools.calls import ToolCall
from agents.tools.running import Running
from agents.tools.toolbox import Toolbox
from celery_agents.contracts.outcome import Outcome, State
from tests.support.memory_step import MemoryStep

FIND = PersonalData(("email",))
GUARDS = (
    TextGuard("privacy", "mask", "mask", FIND),
    TextGuard("words", "block", "off", Words(("damn",))),
)
MAIL = "anna@example.org"


class Masked(MemoryStep):
    """A step as a guard gives it to a model."""

    def __init__(self) -> None:
        super().__init__()
        self.screen = Screen(GUARDS, Turn(input=MAIL))
        assert self.screen.asked().input == "⟨EMAIL_1⟩"

    def meant(self, arguments: Any) -> Any:
        return self.screen.restored(arguments)

    async def seen(self, result: Any, *, but_own: bool = False) -> Any:
        return self.screen.result(result)

    def spoken(self) -> None:
        """Nothing was said."""


def run(step: Masked, tools: list[Any], *calls: tuple[str, dict[str, Any]]) -> Any:
    async def main() -> Any:
        box = Toolbox(FunctionToolset("t", *tools), (), list_timeout_s=1)
        running = Running(await box.offered(step), step)
        asked = [ToolCall(id=str(n), name=name, arguments=a) for n, (name, a) in enumerate(calls)]
        found = await running.answer(asked)
        if isinstance(found, tuple):
            assert [result.call for result in found] == asked  # as the model wrote them
        return found

    return asyncio.run(main())


def test_tools_get_what_is_meant_and_the_model_sees_marks() -> None:
    mailed: list[str] = []

    @tool(effects="effect")
    def mail(to: str) -> str:
        """Send a mail."""
        mailed.append(to)
        return f"sent to {to}, copied to boss@example.org"

    @tool(effects="pure")
    def search(text: str) -> str:
        """Look for a word."""
        return f"{text}: damn"

    step = Masked()
    for _ in range(2):  # the second attempt makes no call anew, and sees the same
        sent, searched = run(
            step, [mail, search], ("mail", {"to": "⟨EMAIL_1⟩"}), ("search", {"text": "it"})
        )
        assert sent.value == "sent to ⟨EMAIL_1⟩, copied to ⟨EMAIL_2⟩"
        assert searched.value == "The guard words does not let this result pass."
        step.again()
    assert mailed == [MAIL]
    assert step.screen.blocked is None
    assert step.screen.restored("⟨EMAIL_2⟩") == "boss@example.org"


def test_a_person_approves_what_is_meant_and_may_change_it() -> None:
    @tool(effects="effect", approve="ask")
    def mail(to: str) -> str:
        """Send a mail."""
        return f"sent to {to}"

    step = Masked()
    (wish,) = run(step, [mail], ("mail", {"to": "⟨EMAIL_1⟩"})).members
    assert wish.input["arguments"] == {"to": MAIL}
    changed = {"arguments": {"to": "bob@example.org"}}
    step.ended[wish.key] = Outcome(state=State.SUCCEEDED, value=changed)
    (result,) = run(step.again(), [mail], ("mail", {"to": "⟨EMAIL_1⟩"}))  # type: ignore[arg-type]
    assert result.value == {
        "called_with": {"to": "⟨EMAIL_2⟩"},
        "by": "a person's decision",
        "result": "sent to ⟨EMAIL_2⟩",
    }


def test_a_long_result_is_masked_before_it_is_cut() -> None:
    @tool(effects="pure", max_result_bytes=400)
    def read() -> str:
        """Read a text that is cut within an address."""
        return "x" * 255 + f" {MAIL} eve@example.net " * 40

    (result,) = run(Masked(), [read], ("read", {}))
    assert "example" not in str(result.value)
