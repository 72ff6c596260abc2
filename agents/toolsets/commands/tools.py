"""``run_command``: programs that a configuration names, without a shell and within bounds.

It is no sandbox: a program does what the worker's user may do. Isolation is a container's.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO

from pydantic import Field

from agents.tools.base import Tool, tool
from agents.tools.calls import ToolError
from celery_agents.errors import ConfigurationError

#: Where programs are found; all of their environment but a home and a language.
PATH = "/usr/local/bin:/usr/bin:/bin"
#: Bytes of the output's begin and end that are kept.
_KEPT = 100_000
_LAUNCH = str(Path(__file__).with_name("launch.py"))
#: Seconds of the processor beyond those of the clock.
_MORE_S = 1


@dataclass(frozen=True, slots=True)
class CommandBounds:
    """The limits of one program."""

    timeout_s: float
    memory_bytes: int
    #: Of each file that it writes, its output among them.
    file_bytes: int


Word = Annotated[str, Field(max_length=10_000, pattern=r"^[^\x00]*$")]


def command_tool(programs: Mapping[str, str], root: Path, bounds: CommandBounds) -> Tool:
    """The tool of these programs, by name, which run in that folder."""

    @tool(effects="effect", approve="ask", untrusted=True)
    async def run_command(
        argv: Annotated[list[Word], Field(min_length=1, max_length=200)],
    ) -> dict[str, Any]:
        if (program := programs.get(argv[0])) is None:
            raise ToolError(f"{argv[0][:100]!r} is none of {', '.join(programs)}.")
        return await _run([program, *argv[1:]], root, bounds)

    run_command.description = (
        "Runs a program and waits for its end. argv: its name and its arguments, each by itself; "
        "there is no shell, so no pipes, no variables and no wildcards. "
        f"Programs: {', '.join(programs)}. It gets no input, and {bounds.timeout_s:g} s."
    )
    return run_command


def found_programs(names: tuple[str, ...]) -> dict[str, str]:
    """The paths of programs, by name.

    Raises:
        ConfigurationError: one is not there, or two have one name.
    """
    found: dict[str, str] = {}
    for name in names:
        path = shutil.which(name, path=PATH)
        if path is None:
            raise ConfigurationError(f"programs: there is no {name} in {PATH}.")
        if Path(name).name in found:
            raise ConfigurationError(f"programs: two are named {Path(name).name}.")
        found[Path(name).name] = path
    return found


async def _run(command: list[str], root: Path, bounds: CommandBounds) -> dict[str, Any]:
    limits = (int(bounds.timeout_s) + _MORE_S, bounds.memory_bytes, bounds.file_bytes)
    launch = [sys.executable, "-I", "-S", _LAUNCH, str(os.getpid()), *map(str, limits)]
    with tempfile.TemporaryFile() as output:
        process = await asyncio.create_subprocess_exec(
            *launch,
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=root,
            env={"PATH": PATH, "HOME": str(root), "LANG": "C.UTF-8"},
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(bounds.timeout_s):
                code = await process.wait()
        except TimeoutError:
            _end(process.pid)
            await process.wait()
            text = f"It did not end within {bounds.timeout_s:g} s, and was ended. Its output:\n"
            raise ToolError(text + _said(output)) from None
        finally:
            _end(process.pid)  # and what it has left behind in its group
        return {"exit": code, "output": _said(output)}


def _end(group: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def _said(output: BinaryIO) -> str:
    """The output's begin, and its end where it is long."""
    size = output.seek(0, os.SEEK_END)
    output.seek(0)
    text = output.read(_KEPT)
    if size > 2 * _KEPT:
        text += f"\n[… {size - 2 * _KEPT:,} bytes are left out …]\n".encode()
    output.seek(max(_KEPT, size - _KEPT))
    return (text + output.read(_KEPT)).decode(errors="replace")
