"""The tool by which a model runs programs over its other tools."""

from __future__ import annotations

import keyword
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from typing import Annotated, Any

from pydantic import Field

from agents.base import StepContext
from agents.plain import plain_json
from agents.tools.base import Tool
from agents.tools.calls import ToolError
from agents.tools.code.sandbox import CallAnswer, CodeBounds, ProgramCall, ProgramEnd, Sandbox
from agents.tools.patterns import fits
from agents.tools.policy import ToolPolicy
from agents.tools.toolset import FixedToolset
from agents.values import PART_SIZE, within
from celery_agents.contracts.base import JsonValue

#: Characters of a program, and bytes of what it gives.
SOURCE_MAX, VALUE_MAX = 32_768, 262_144
#: A size beyond which a value has more bytes than that: a part of a list has three at least.
_VALUE_SIZE = VALUE_MAX * PART_SIZE // 3 + PART_SIZE
#: Characters of an error, of which the model is told the end.
_ERROR_MAX = 4_000

_ABOUT = """\
Runs a Python program that calls your other tools. Each is a function in it, by its name (_ in \
place of -), with its arguments by keyword: page = fetch_page(url="…"). It returns the tool's \
result, and raises RuntimeError where the tool fails. Call them plainly, one after the other; or \
await each call of the program: await asyncio.gather(a(x=1), b(x=2)) makes calls side by side.
You are told the value of the last expression, and what was printed. Nothing else is kept: no \
variables for another program.
There are no files, no network, no clock, no packages and no generators; of the standard library \
json, re, math, datetime, decimal, collections, itertools, functools, random, csv, bisect, base64, \
hashlib. It computes for {timeout_s:g} s at most, and makes {max_calls} calls."""


def _program(code: Annotated[str, Field(min_length=1, max_length=SOURCE_MAX)]) -> None:
    """Stand for the tool: its calls are made by whoever has the other tools."""
    raise NotImplementedError(code)


_PROGRAM = Tool(_program, name="run_python", policy=ToolPolicy(effects="pure"))


class CodeToolset(FixedToolset):
    """``run_python``. Its calls are made by whoever runs the answer, which has the other tools.

    Args:
        name: of the toolset.
        bounds: of each program.
        use: patterns of names of tools that programs may call.
        kept: gives it as it is offered: its name, and whether a person is asked; or none, where
            it is withheld.
    """

    always_shown = True

    def __init__(
        self,
        name: str,
        bounds: CodeBounds,
        use: Sequence[str] = ("*",),
        kept: Callable[[Tool], list[Tool]] = lambda tool: [tool],
    ) -> None:
        made = copy(_PROGRAM)
        made.description = _ABOUT.format(timeout_s=bounds.timeout_s, max_calls=bounds.max_calls)
        super().__init__(name, *kept(made))
        self.bounds = bounds
        self.use = tuple(use)
        self.sandbox = Sandbox()

    def functions(self, names: Iterable[str]) -> dict[str, str]:
        """Those of these tools that programs may call, by the names of functions."""
        found: dict[str, str] = {}
        for name in names:
            if fits(name, self.use):
                found.setdefault(function_name(name), name)
        return found

    async def call(self, name: str, arguments: JsonValue, *, key: str, step: StepContext) -> Any:  # noqa: ARG002
        """Run a program that has no tools: nobody's answer stands around it."""

        async def none(_: Sequence[ProgramCall]) -> Sequence[CallAnswer]:
            raise AssertionError("there are no functions")

        ended = await self.sandbox.run(
            self.source(arguments), self.bounds, seed=key, functions=(), answer=none
        )
        return told(ended)

    def source(self, arguments: JsonValue) -> str:
        """The program of a call.

        Raises:
            ToolError: the arguments are wrong.
        """
        if (wrong := _PROGRAM.problem(arguments)) is not None:
            raise ToolError(wrong)
        assert isinstance(arguments, dict)
        return str(arguments["code"])

    async def aclose(self) -> None:
        await self.sandbox.aclose()


def function_name(tool_name: str) -> str:
    """The name of a tool as Python writes it."""
    name = tool_name.replace("-", "_")
    if not name.isidentifier():
        name = f"_{name}"
    return f"{name}_" if keyword.iskeyword(name) else name


def told(ended: ProgramEnd, notes: Sequence[str] = ()) -> JsonValue:
    """Tell a model of a program that has ended.

    Raises:
        ToolError: it failed, or its value has no JSON form, or is too long.
    """
    if ended.error is None:
        # Of what is surely too long nothing is written: that would hold up the loop.
        if not within(ended.value, _VALUE_SIZE):
            raise ToolError(_failed(f"Its value has more than {VALUE_MAX:,} bytes.", ended, notes))
        try:
            value = plain_json(ended.value)
        except ValueError as error:
            raise ToolError(_failed(f"Its value is no JSON value: {error}", ended, notes)) from None
        result: dict[str, JsonValue] = {"result": value}
        if ended.printed:
            result["printed"] = ended.printed
        if notes:
            result["notes"] = [*notes]
        return result
    raise ToolError(_failed(ended.error[-_ERROR_MAX:], ended, notes))


def _failed(error: str, ended: ProgramEnd, notes: Sequence[str]) -> str:
    parts = [error]
    if ended.printed:
        parts.append(f"Printed before that:\n{ended.printed[-_ERROR_MAX:]}")
    if ended.calls:
        parts.append(f"Calls that it had begun by then: {ended.calls}. They are not undone.")
    return "\n".join([*parts, *notes])
