"""Calls that a person has to approve: what is asked, and what comes of each answer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agents.plan import Expand
from agents.tools import CallContext, Filtered, FunctionToolset, Prefixed, Toolset, tool
from agents.tools.calls import ToolCall, ToolResult
from agents.tools.policy import ToolPolicy
from agents.tools.running import Running
from agents.tools.toolbox import Toolbox
from celery_agents.contracts.approval import ToolApproval
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State
from celery_agents.errors import ConfigurationError
from tests.support.memory_step import MemoryStep
from tests.support.toolsets import Shelf, spec

paid: list[tuple[int, str]] = []


@tool(approve="ask")
async def pay(amount: int, call: CallContext) -> str:
    """Pays."""
    paid.append((amount, call.key))
    return f"paid {amount}"


@tool(effects="idempotent")
async def note(text: str) -> str:
    """Notes."""
    return text


@pytest.fixture(autouse=True)
def _nothing_paid() -> None:
    paid.clear()


def answer(
    step: MemoryStep, *calls: tuple[str, Any], toolset: Toolset | None = None, why: str = ""
) -> tuple[ToolResult, ...] | Expand:
    """What comes of one reply, in a new attempt."""

    async def main() -> tuple[ToolResult, ...] | Expand:
        functions = FunctionToolset("desk", *([pay, note] if toolset is None else [note]))
        toolsets = [] if toolset is None else [toolset]
        box = Toolbox(functions, toolsets, list_timeout_s=1)
        running = Running(await box.offered(step), step)
        made = [ToolCall(id=str(n), name=c[0], arguments=c[1]) for n, c in enumerate(calls)]
        return await running.answer(made, why=why)

    return asyncio.run(main())


def asked(found: tuple[ToolResult, ...] | Expand) -> list[str]:
    assert isinstance(found, Expand)
    assert all(m.waits for m in found.members)
    return [m.key for m in found.members]


def say(step: MemoryStep, key: str, value: Any) -> None:
    step.ended[key] = Outcome(state=State.SUCCEEDED, value=value)


def values(found: tuple[ToolResult, ...] | Expand) -> list[Any]:
    assert isinstance(found, tuple)
    return [r.value for r in found]


CALL = ("pay", {"amount": 7})


def test_a_wish_waits_with_all_that_a_person_needs(step: MemoryStep) -> None:
    found = answer(step, CALL, ("note", {"text": "x"}), why="He asked for it.")
    (key,) = asked(found)
    assert isinstance(found, Expand)
    told = {"tool": "pay", "arguments": {"amount": 7}, "why": "He asked for it."}
    assert found.members[0].input == told
    assert (paid, step.calls) == ([], [])  # nothing of the reply before all is decided
    assert asked(answer(step.again(), CALL)) == [key]  # the same in each attempt


@pytest.mark.parametrize(
    ("said", "value", "amounts"),
    [
        (True, "paid 7", [7]),
        ("Yes", "paid 7", [7]),
        ("no", "This call was not approved.", []),
        (False, "This call was not approved.", []),
        ("too much", "This call was not approved: too much", []),
        (
            {"arguments": {"amount": 5}},
            {"called_with": {"amount": 5}, "by": "a person's decision", "result": "paid 5"},
            [5],
        ),
    ],
)
def test_answers_of_people(step: MemoryStep, said: Any, value: Any, amounts: list[int]) -> None:
    (key,) = asked(answer(step, CALL))
    say(step, key, said)
    assert values(answer(step.again(), CALL)) == [value]
    assert values(answer(step.again(), CALL)) == [value]  # and is not called again
    assert [amount for amount, _ in paid] == amounts


def test_a_wish_that_was_cancelled_is_refused(step: MemoryStep) -> None:
    (key,) = asked(answer(step, CALL))
    error = ErrorInfo(kind="cancelled", message="nobody came")
    step.ended[key] = Outcome(state=State.CANCELLED, error=error)
    assert values(answer(step.again(), CALL)) == ["This call was not approved: nobody came"]


def test_an_approval_is_used_once_and_for_its_arguments_alone(step: MemoryStep) -> None:
    (key,) = asked(answer(step, CALL))
    say(step, key, True)
    first, again, other = CALL, CALL, ("pay", {"amount": 8})
    wishes = asked(answer(step.again(), first, again, other))
    assert len(wishes) == 2  # several of one reply wait together
    assert key not in wishes
    assert paid == []
    for wish, said in zip(wishes, [True, False], strict=True):
        say(step, wish, said)
    found = values(answer(step.again(), first, again, other))
    assert found == ["paid 7", "paid 7", "This call was not approved."]
    assert len({k for _, k in paid}) == 2


@pytest.mark.parametrize("arguments", [{}, {"amount": "x"}, [], {"amount": 1, "more": 2}, None])
@pytest.mark.parametrize(
    "around",
    [
        None,
        lambda inner: Prefixed(inner, "a_"),
        lambda inner: Filtered(inner, only=["pay"]),
    ],
)
def test_wrong_arguments_never_reach_a_person(
    step: MemoryStep, arguments: Any, around: Any
) -> None:
    toolset = None if around is None else around(FunctionToolset("bank", pay))
    name = "a_pay" if isinstance(toolset, Prefixed) else "pay"
    found = answer(step, (name, arguments), toolset=toolset)
    assert isinstance(found, tuple)
    assert found[0].failed
    assert "Wrong arguments" in str(found[0].value)


def test_arguments_that_a_person_got_wrong_are_told_to_the_model(step: MemoryStep) -> None:
    (key,) = asked(answer(step, CALL))
    say(step, key, {"arguments": {"amount": "much"}})
    (result,) = values(answer(step.again(), CALL))
    assert result["result"] == "Wrong arguments: the arguments.amount is not of type integer"
    assert result["called_with"] == {"amount": "much"}
    assert (paid, step.calls) == ([], [])  # not begun, so a crash leaves no doubt about it


def test_more_arguments_than_can_be_looked_at_are_wrong_ones(step: MemoryStep) -> None:
    """Whatever a model writes, its step goes on."""
    schema = {"type": "object", "properties": {"days": {"items": {"type": "integer"}}}}
    listed = spec("fly", parameters=schema, policy=ToolPolicy(approve="ask"))
    found = answer(
        step, ("fly", {"days": [1] * 300_000}), toolset=Shelf([listed], effects="effect")
    )
    assert isinstance(found, tuple)
    assert "cannot be held against the schema" in str(found[0].value)


def test_of_many_words_beside_a_wish_people_see_the_last(step: MemoryStep) -> None:
    found = answer(step, CALL, why="First. " * 1000 + "He asked for it.")
    assert isinstance(found, Expand)
    told: Any = found.members[0].input
    assert len(told["why"]) == 500
    assert told["why"].endswith("He asked for it.")


class Strict(Shelf):
    """Its own words about arguments, beside the schemas of its tools."""

    def problem(self, name: str, arguments: Any) -> str | None:
        return f"{name}: not on a Sunday" if arguments == {"day": "Sunday"} else None


@pytest.mark.parametrize("around", [lambda s: s, lambda s: Prefixed(s, "x_")])
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"day": "Sunday"}, "Wrong arguments: fly: not on a Sunday"),
        ({"day": 1}, "Wrong arguments: "),
        ({"day": "Monday"}, None),
    ],
)
def test_a_toolset_says_itself_what_is_wrong_and_so_does_the_schema(
    step: MemoryStep, around: Any, arguments: Any, told: str | None
) -> None:
    schema = {"type": "object", "properties": {"day": {"type": "string"}}}
    listed = spec("fly", parameters=schema, policy=ToolPolicy(approve="ask"))
    toolset = around(Strict([listed], effects="effect"))
    name = "x_fly" if isinstance(toolset, Prefixed) else "fly"
    found = answer(step, (name, arguments), toolset=toolset)
    if told is None:
        assert len(asked(found)) == 1
    else:
        assert isinstance(found, tuple)
        assert str(found[0].value).startswith(told)


@pytest.mark.parametrize("odd", [None, 7, "", "  ", [], {}, {"arguments": []}, {"option": "yes"}])
def test_what_is_no_answer(odd: Any) -> None:
    with pytest.raises(ValueError, match="answer with True, False"):
        ToolApproval.of(odd)


@pytest.mark.parametrize(
    ("approve", "asks"),
    [
        ({}, [False, False]),
        ({"wire": "ask"}, [True, False]),
        ({"*": "ask"}, [True, True]),
        ({"*": "ask", "wire*": "never"}, [False, True]),
        ({"wire*": "never", "*": "ask"}, [True, True]),  # the last one that fits
    ],
)
def test_configuration_decides_by_name_or_pattern(
    step: MemoryStep, approve: Any, asks: list[bool]
) -> None:
    async def wire() -> str:
        return "sent"

    async def mail() -> str:
        return "sent"

    box = Toolbox(FunctionToolset("desk", wire, mail), (), list_timeout_s=1, approve=approve)

    async def main(name: str) -> Any:
        call = ToolCall(id="1", name=name, arguments={})
        return await Running(await box.offered(step), step).answer([call])

    found = [asyncio.run(main(name)) for name in ("wire", "mail")]
    assert [isinstance(f, Expand) for f in found] == asks


@pytest.mark.parametrize("dies", [False, True])
def test_approval_that_is_wanted_between_two_attempts_asks_nobody_about_what_was_done(
    step: MemoryStep, dies: bool
) -> None:
    """A refusal would be a lie; what was not begun is asked about."""

    async def wire(n: int) -> str:
        sent.append(n)
        if dies and n == 1:
            raise KeyboardInterrupt  # as the worker's end
        return f"sent {n}"

    sent: list[int] = []

    def made(approve: Any, *numbers: int) -> Any:
        box = Toolbox(FunctionToolset("desk", wire), (), list_timeout_s=1, approve=approve)
        calls = [ToolCall(id="1", name="wire", arguments={"n": n}) for n in numbers]

        async def main() -> Any:
            return await Running(await box.offered(step), step).answer(calls)

        return asyncio.run(main())

    if dies:
        with pytest.raises(KeyboardInterrupt):
            made({}, 1)
    else:
        made({}, 1)
    step.again()
    first, second = asked(made({"wire": "ask"}, 1, 1, 2))  # the second of the same, and the other
    for key in (first, second):
        say(step, key, False)
    step.again()
    refused = "This call was not approved."
    found = values(made({"wire": "ask"}, 1, 1, 2))
    assert found[1:] == [refused, refused]
    assert ("nobody knows" in found[0]) if dies else (found[0] == "sent 1")
    assert sent == [1]


def test_what_a_tool_says_itself_can_be_lifted(step: MemoryStep) -> None:
    box = Toolbox(FunctionToolset("d", pay), (), list_timeout_s=1, approve={"pay": "never"})

    async def main() -> Any:
        call = ToolCall(id="1", name="pay", arguments={"amount": 1})
        return await Running(await box.offered(step), step).answer([call])

    assert values(asyncio.run(main())) == ["paid 1"]


def test_a_name_that_fits_no_tool_is_found_at_the_start() -> None:
    """A slip of the pen would take the person's say away."""
    desk = FunctionToolset("d", pay)
    with pytest.raises(ConfigurationError, match="no tool has a name like pya"):
        Toolbox(desk, (), list_timeout_s=1, approve={"pay": "ask", "pya": "ask"})
    Toolbox(desk, [FunctionToolset("e", note)], list_timeout_s=1, approve={"pya": "ask"})
