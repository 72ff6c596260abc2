"""Results of MCP servers that are huge: a model is told a part, and the rest when it asks."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from agents.tools import FunctionToolset
from agents.tools.calls import ToolCall
from agents.tools.running import Running
from agents.tools.toolbox import Toolbox
from tests.fakes import mcp_server
from tests.support.mcp_servers import closed, on_loop, toolset
from tests.support.memory_step import MemoryStep

#: The fake server with a tool more, whose results are as large as its arguments say.
_PROGRAM = """
import importlib.util

spec = importlib.util.spec_from_file_location("fake", {path!r})
fake = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fake)

def much(arguments, meta, tell):
    items, text = arguments["items"], "".join(f"<{{n}}>" for n in range(arguments["numbers"]))
    structure = {{"structuredContent": {{"all": [text] * items}}}}
    about = structure if arguments.get("structured") else {{}}
    failed = {{"isError": True}} if arguments.get("fails") else {{}}
    return {{"content": [{{"type": "text", "text": text}}] * items, **about, **failed}}

fake.TOOLS["much"] = (much, {{"inputSchema": {{"type": "object"}}}})
fake.by_pipe()
"""


#: Above what is kept of a result nothing of it is told; else a part, and the rest when it asks; of
#: an error its begin.
REFUSED, IN_PART, CUT = "too many to be shown", "left out", "…"


@pytest.mark.parametrize(
    ("items", "numbers", "more", "why"),
    [
        (1, 100_000, {}, IN_PART),
        (2_000, 100, {}, IN_PART),
        (2_000, 100, {"structured": True}, IN_PART),
        (1, 300_000, {}, REFUSED),
        (1, 300_000, {"structured": True}, REFUSED),
        (1, 300_000, {"fails": True}, CUT),
        (2_000, 100, {"fails": True}, CUT),
    ],
)
def test_a_huge_result_is_told_in_part(
    tmp_path: Path, items: int, numbers: int, more: dict[str, Any], why: str
) -> None:
    program = tmp_path / "server.py"
    program.write_text(_PROGRAM.format(path=str(mcp_server.__file__)))
    step = MemoryStep()

    @on_loop
    async def main() -> None:
        desk = toolset(command=(sys.executable, "-I", str(program)))
        await closed(desk, _told(desk))

    async def _told(desk: Any) -> None:
        running = Running(
            await Toolbox(FunctionToolset("none"), [desk], list_timeout_s=20).offered(step), step
        )
        assert "much" in {spec.name for spec in running.specs}
        arguments = {"items": items, "numbers": numbers, **more}
        results = await running.answer([ToolCall(id="1", name="much", arguments=arguments)])
        (told,) = results
        shown = str(told.value)  # type: ignore[union-attr]
        assert len(shown) < 20_000
        assert why in shown
        assert ("<0><1>" in shown) == (why != REFUSED)

    main()
