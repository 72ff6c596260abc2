"""The sandbox of programs: what they reach, and that each of them ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from agents.tools.code.sandbox import CallAnswer, CodeBounds, ProgramCall, ProgramEnd, Sandbox

BOUNDS = CodeBounds(timeout_s=10, memory_bytes=16_000_000, max_calls=5, print_bytes=1_000)
#: Of programs that would take all of it.
SHORT = replace(BOUNDS, timeout_s=0.5)


def run(
    source: str, *, seed: str = "s", bounds: CodeBounds = BOUNDS, answer: Any = None
) -> tuple[ProgramEnd, list[list[ProgramCall]]]:
    """Run a program whose functions are ``f`` and ``g``."""
    asked: list[list[ProgramCall]] = []

    async def default(wanted: Sequence[ProgramCall]) -> Sequence[CallAnswer]:
        asked.append([*wanted])
        return [CallAnswer({"n": one.kwargs.get("n")}) for one in wanted]

    async def main() -> ProgramEnd:
        sandbox = Sandbox()
        try:
            about: Any = {"seed": seed, "functions": ["f", "g"], "answer": answer or default}
            return await sandbox.run(source, bounds, **about)
        finally:
            await sandbox.aclose()

    return asyncio.run(main()), asked


def test_a_program_calls_functions_and_gives_its_last_value() -> None:
    ended, asked = run('x = f(n=1)\nprint("got", x)\n[x["n"], g(2, n=3)["n"]]')
    assert (ended.value, ended.printed, ended.calls) == ([1, 3], "got {'n': 1}\n", 2)
    assert asked == [[ProgramCall("f", (), {"n": 1})], [ProgramCall("g", (2,), {"n": 3})]]


def test_calls_that_are_awaited_at_once_are_made_at_once() -> None:
    program = "import asyncio\nx = await f(n=1)\nawait asyncio.gather(g(n=2), f(n=3))"
    ended, asked = run(program)
    assert ended.value == [{"n": 2}, {"n": 3}]
    assert [[one.name for one in batch] for batch in asked] == [["f"], ["g", "f"]]


@pytest.mark.parametrize(
    ("source", "made", "names"),
    [
        ("await f(n=1)\ng(n=2)\n'done'", ["f"], "g was"),
        ("x = await f(n=1)\nfor i in [1, 2]: g(n=i)\nf()\nx", ["f"], "g, f were"),
        ("async def later(): await f(n=1)\ng(n=2)\n1", [], "g was"),
        ("await f(n=1)\ng(n=2)\n1 / 0", ["f"], None),
    ],
)
def test_a_call_that_is_not_awaited_is_told(source: str, made: list[str], names: Any) -> None:
    """It was not made, and its program goes on as though it had been."""
    ended, asked = run(source)
    assert [one.name for batch in asked for one in batch] == made
    assert ended.calls == len(made)
    told = "ZeroDivisionError" if names is None else f"{names} not awaited, and not made"
    assert told in str(ended.error)


def test_the_word_await_in_a_text_or_a_comment_awaits_nothing() -> None:
    ended, _ = run('# await it\nx = "await"\nf(n=4)["n"]')
    assert ended.value == 4


def test_a_function_may_have_another_name() -> None:
    ended, asked = run("call = f\ncall(n=1)")
    assert ended.value == {"n": 1}
    assert [one.name for batch in asked for one in batch] == ["f"]


def test_a_function_that_fails_raises_what_a_program_may_catch() -> None:
    async def fails(wanted: Sequence[ProgramCall]) -> Sequence[CallAnswer]:
        return [CallAnswer(error="no such order") for _ in wanted]

    ended, _ = run("try:\n  f()\nexcept RuntimeError as e:\n  x = str(e)\nx", answer=fails)
    assert ended.value == "no such order"
    ended, _ = run("f()", answer=fails)
    assert "RuntimeError: no such order" in str(ended.error)


def test_what_ends_the_attempt_passes_a_program_that_catches_all() -> None:
    async def dies(_: Sequence[ProgramCall]) -> Sequence[CallAnswer]:
        raise ConnectionError("the worker's own")

    with pytest.raises(ConnectionError, match="own"):
        run("try:\n  f()\nexcept BaseException:\n  pass\n1", answer=dies)


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("while True: pass", "TimeoutError"),
        ("try:\n  while True: pass\nexcept BaseException:\n  while True: pass", "TimeoutError"),
        ("import re\nre.match('(a+)+$', 'a' * 40 + 'b')", None),
        ("9**9**9", "MemoryError"),
        ("[0] * 10**10", "MemoryError"),
        ("x = []\nwhile True: x.append('a' * 10000 + str(len(x)))", "MemoryError"),
        ("def r(n): return r(n + 1)\nr(0)", "RecursionError"),
        ("while True: f(n=1)", "more than 5 calls"),
        ("while True:\n  try: f(n=1)\n  except BaseException: pass", "more than 5 calls"),
        ("(" * 3000 + "1" + ")" * 3000, "deeply nested"),
        ("import time\ntime.sleep(3600)\n", None),
        ("import asyncio\nawait asyncio.sleep(3600)\n", None),
    ],
)
def test_each_program_ends(source: str, error: str | None) -> None:
    begun = time.monotonic()
    ended, _ = run(source, bounds=SHORT if error == "TimeoutError" else BOUNDS)
    assert time.monotonic() - begun < 60  # of a machine that is busy
    assert (ended.error is None) is (error is None)
    assert (error or "") in (ended.error or "")


@pytest.mark.parametrize(
    "source",
    [
        "while True: print('x' * 100)",
        "while True:\n  try: print('x' * 100)\n  except BaseException: pass",
        "print('x' * 99)\nprint('x' * 10_000)\nwhile True: pass",
        "for _ in range(20): print('x' * 100)",
        "for _ in range(20): print('x' * 100)\nf(n=1)",
        "for _ in range(20): print('x' * 100)\n1 / 0",
        "f(n=1)\nprint('x' * 2000)\ng(n=2)",
        "import asyncio\nprint('x' * 2000)\nawait asyncio.sleep(3600)",
    ],
)
def test_one_that_prints_too_much_is_ended_at_once(source: str) -> None:
    """Whatever it does then, it makes no call more; what it printed first is kept."""
    ended, asked = run(source, bounds=replace(BOUNDS, timeout_s=3600))
    assert ended.error == "It printed more than 1,000 bytes, and was ended."
    assert len(ended.printed) == 1_000
    assert {*ended.printed} <= {"x", "\n"}
    assert [one.name for batch in asked for one in batch] == ["f"] * source.startswith("f(")


def test_what_it_may_print_may_be_any_text() -> None:
    ended, _ = run("print('ü' * 499)\n7")
    assert (ended.value, ended.printed) == (7, "ü" * 499 + "\n")
    ended, _ = run("print('€' * 400)\n7")
    assert (ended.error, ended.printed) == (
        *("It printed more than 1,000 bytes, and was ended.", "€" * 333),
    )


@pytest.mark.parametrize(
    "source",
    [
        "open('/etc/passwd').read()",
        "import os\nos.environ['PATH']",
        "import os\nos.listdir('/')",
        "import subprocess",
        "import socket",
        "__import__('os').system('id')",
        "().__class__.__base__.__subclasses__()",
        "from pathlib import Path\nPath('/etc/passwd').read_text()",
        "import datetime\ndatetime.datetime.now()",
        "import time\ntime.time()",
        "h(1)",
        "f.__globals__",
        "eval('open(\"/etc/passwd\")')",
    ],
)
def test_a_program_reaches_nothing_but_its_functions(source: str) -> None:
    ended, _ = run(source)
    assert ended.error


def test_random_numbers_are_those_of_its_seed() -> None:
    program = "import random\n[random.random(), random.randint(1, 10**9)]"
    assert run(program)[0] == run(program)[0]
    assert run(program, seed="other")[0] != run(program)[0]


def test_programs_go_on_after_one_was_given_up() -> None:
    async def main() -> Any:
        sandbox = Sandbox()
        slow = CodeBounds(30, 16_000_000, 5, 1_000)

        async def none(_: Sequence[ProgramCall]) -> Sequence[CallAnswer]:
            await asyncio.sleep(3600)
            return []

        def begin(source: str) -> asyncio.Task[ProgramEnd]:
            act = sandbox.run(source, slow, seed="s", functions=["f"], answer=none)
            return asyncio.get_running_loop().create_task(act)

        given_up = [begin("while True: pass"), begin("f()")]
        await asyncio.sleep(0.1)
        for task in given_up:
            task.cancel()
        ended = await asyncio.gather(*given_up, return_exceptions=True)
        assert all(isinstance(one, asyncio.CancelledError) for one in ended)
        found = await asyncio.gather(*(begin(f"{n} * 2") for n in range(20)))
        await sandbox.aclose()
        return [one.value for one in found]

    assert asyncio.run(main()) == [n * 2 for n in range(20)]
