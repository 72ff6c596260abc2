"""Programs of the machine: those that are named, without a shell, and to an end."""

from __future__ import annotations

import asyncio
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from agents.catalog.toolsets import read_toolsets
from agents.net.clients import SharedClients
from agents.tools.calls import ToolError
from agents.tools.toolset import FixedToolset
from agents.toolsets.kinds import ToolResources
from celery_agents.errors import ConfigurationError
from tests.support.memory_step import MemoryStep


def toolset(root: Path, *programs: str, **fields: Any) -> FixedToolset:
    resources = ToolResources(lambda _: None, ThreadPoolExecutor(1), SharedClients())
    table = {"kind": "commands", "programs": [*programs], "root": str(root), **fields}
    made = read_toolsets(Path("agents.toml"), {"shell": table}, resources)["shell"]
    assert isinstance(made, FixedToolset)
    return made


def run(made: FixedToolset, *argv: str) -> Any:
    step: Any = MemoryStep()
    return asyncio.run(made.call("run_command", {"argv": [*argv]}, key="k", step=step))


def test_a_program_runs_in_the_folder_with_next_to_no_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "hidden")
    made = toolset(tmp_path, "env", "pwd", "sh")
    (tool,) = made.tools
    policy = tool.policy
    assert (policy.effects, policy.approve, policy.untrusted) == ("effect", "ask", True)
    told = run(made, "env")
    assert told["exit"] == 0
    assert {line.partition("=")[0] for line in told["output"].splitlines()} <= {
        *("PATH", "HOME", "LANG", "PWD", "LC_CTYPE")
    }
    assert run(made, "pwd")["output"] == f"{tmp_path}\n"
    assert run(made, "sh", "-c", "echo no >&2; exit 3") == {"exit": 3, "output": "no\n"}


def test_there_is_no_shell_and_no_other_program(tmp_path: Path) -> None:
    made = toolset(tmp_path, "echo")
    assert run(made, "echo", "$HOME", ";", "id", "*")["output"] == "$HOME ; id *\n"
    for argv in (["id"], ["/bin/echo"], ["echo; id"], ["../echo"], [""]):
        with pytest.raises(ToolError, match="none of echo"):
            run(made, *argv)
    with pytest.raises(ToolError, match="Wrong arguments"):
        run(made, "echo", "a\0b")


def test_a_program_ends_with_all_that_it_has_begun(tmp_path: Path) -> None:
    made = toolset(tmp_path, "sh", timeout_s=1)
    script = "echo begun; sleep 300 & echo $! > child; wait"
    begun = time.monotonic()
    with pytest.raises(ToolError, match=r"did not end within 1 s[\s\S]*begun"):
        run(made, "sh", "-c", script)
    assert time.monotonic() - begun < 20
    child = int((tmp_path / "child").read_text())
    for _ in range(200):
        if not _alive(child):
            break
        time.sleep(0.05)
    assert not _alive(child)


def test_what_a_program_takes_has_bounds(tmp_path: Path) -> None:
    made = toolset(tmp_path, "sh", "python3", memory_bytes=300_000_000, file_bytes=50_000)
    told = run(made, "python3", "-c", "x = bytearray(10**9)")
    assert "MemoryError" in told["output"]
    flood = run(made, "sh", "-c", "while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxx || exit; done")
    assert flood["exit"] != 0
    assert len(flood["output"]) < 60_000


def test_a_long_output_is_told_by_its_begin_and_its_end(tmp_path: Path) -> None:
    script = "i=0; while [ $i -lt 60000 ]; do echo line$i; i=$((i+1)); done"
    told = run(toolset(tmp_path, "sh"), "sh", "-c", script)["output"]
    assert told.startswith("line0\n")
    assert told.endswith("line59999\n")
    assert "bytes are left out" in told


def test_what_is_not_there_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no nothing-of-that-name"):
        toolset(tmp_path, "nothing-of-that-name")
    with pytest.raises(ConfigurationError, match="no folder"):
        toolset(tmp_path / "none", "echo")
    with pytest.raises(ConfigurationError, match="two are named"):
        toolset(tmp_path, "sh", "/bin/sh")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
