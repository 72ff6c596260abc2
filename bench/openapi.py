"""Descriptions of services as tools: ``python -m bench.openapi github.json folder/ …``.

Each argument is a description, OpenAPI 2.0 to 3.1, or a folder of them that count as one; none is
part of this project (GitHub's: ``npm pack @octokit/openapi``). Prints operations, seconds of CPU,
and the tokens of a first request with all of them; an operation that is no tool ends it.
``--fastmcp PYTHON`` reads each by the FastMCP of that interpreter as well, in the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agents.governance.estimate import expected
from agents.net.clients import SharedClients
from agents.tools.base import NAME
from agents.tools.toolbox import Toolbox
from agents.tools.toolset import FixedToolset, FunctionToolset
from agents.toolsets.openapi.entries import OpenApiTools
from agents.toolsets.openapi.tools import OperationTool, read_operations
from tests.support.memory_step import MemoryStep

_SERVER = "https://service.example"
_METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}
#: As its users do: the tools are there once they are listed.
_FASTMCP = """
import asyncio, json, sys, time, httpx2
from fastmcp import FastMCP
began, count = time.process_time(), 0
for path in sys.argv[1:]:
    served = FastMCP.from_openapi(json.load(open(path)), httpx2.AsyncClient(base_url="https://x.example"))
    lists = getattr(served, "list_tools", None) or served.get_tools
    count += len(asyncio.run(lists()))
print(json.dumps([count, time.process_time() - began]))
"""


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("descriptions", type=Path, nargs="+")
    parser.add_argument("--fastmcp", type=Path, metavar="PYTHON")
    options = parser.parse_args()
    print(
        f"{'description':<16}{'operations':>12}{'CPU s':>8}{'first tokens':>14}{'all':>10}  FastMCP"
    )
    for path in options.descriptions:
        paths = sorted(path.glob("*.json")) if path.is_dir() else [path]
        began = time.process_time()
        tools = [_read(one) for one in paths]
        took_s = time.process_time() - began
        for one, theirs in zip(paths, tools, strict=True):
            _check(one, theirs)
        every = [tool for theirs in tools for tool in theirs]
        first, whole = asyncio.run(_tokens(every))
        told = "" if options.fastmcp is None else _by_fastmcp(options.fastmcp, paths, took_s)
        print(f"{path.stem:<16}{len(every):>12,}{took_s:>8.2f}{first:>14,}{whole:>10,}  {told}")


def _read(path: Path) -> list[OperationTool]:
    entry = OpenApiTools(kind="openapi", spec=str(path), server=_SERVER)
    found = read_operations(
        path.stem, entry, clients=SharedClients(), resolve_secret=lambda _: None
    )
    return found.tools


def _check(path: Path, tools: Sequence[OperationTool]) -> None:
    """Hold the tools against the document's own words: each operation is one, under its name."""
    told = json.loads(path.read_text(encoding="utf-8"))
    operations = sum(len(_METHODS & item.keys()) for item in told["paths"].values())
    names = {tool.name for tool in tools if NAME.fullmatch(tool.name)}
    assert len(names) == len(tools) == operations, (path, len(names), len(tools), operations)


async def _tokens(tools: Sequence[OperationTool]) -> tuple[int, int]:
    """Tokens of the tools that a model is told of at first, and of all of them."""
    named = {tool.name: tool for tool in tools}.values()  # those of several services clash
    box = Toolbox(FunctionToolset("none"), [FixedToolset("service", *named)], list_timeout_s=10)
    offered = await box.offered(MemoryStep())
    shown = [spec.model_dump() for spec in offered.specs]
    return _weighed(shown), _weighed([tool.spec.model_dump() for tool in offered.tools.values()])


def _weighed(specs: Sequence[Any]) -> int:
    return expected([json.dumps(spec) for spec in specs]).input_tokens


def _by_fastmcp(python: Path, paths: Sequence[Path], took_s: float) -> str:
    ran = subprocess.run(
        [python, "-c", _FASTMCP, *paths], capture_output=True, text=True, check=False
    )
    if ran.returncode:
        return f"refuses: {ran.stderr.strip().splitlines()[-1][:100]}"
    count, seconds = json.loads(ran.stdout.splitlines()[-1])
    return f"{count:,} in {seconds:.2f} s: {seconds / took_s:.1f} times ours"


if __name__ == "__main__":
    main()
