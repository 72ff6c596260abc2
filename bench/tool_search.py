"""Recall of ``search_tools`` on BFCL v4: ``python -m bench.tool_search FOLDER``.

FOLDER is ``berkeley-function-call-leaderboard/bfcl_eval/data`` of the repository
ShishirPatil/gorilla (Apache-2.0), which is not part of this project. All functions of its eight
single-turn files with answers are one catalogue; each question's functions are looked for among
all of them: by words, and by vectors beside them where the extra ``vectors`` is installed. Prints
the share that is among the first so many names, and the time of a search.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from agents.tools.calls import ToolSpec
from agents.tools.search import ToolIndex
from agents.tools.vectors import static_vectors

_FILES = (
    *("simple_python", "multiple", "parallel", "parallel_multiple"),
    *("live_simple", "live_multiple", "live_parallel", "live_parallel_multiple"),
)
_DEPTHS = (1, 3, 5, 10)


def _lines(path: Path) -> Iterator[Any]:
    for line in path.read_text(encoding="utf-8").splitlines():
        yield json.loads(line)


def _read(folder: Path) -> tuple[list[ToolSpec], list[tuple[str, set[str]]]]:
    """The catalogue, and questions with the names of their functions."""
    specs: dict[str, ToolSpec] = {}
    asked: list[tuple[str, set[str]]] = []
    for name in _FILES:
        answers = {
            told["id"]: {call for one in told["ground_truth"] for call in one}
            for told in _lines(folder / "possible_answer" / f"BFCL_v4_{name}.json")
        }
        for told in _lines(folder / f"BFCL_v4_{name}.json"):
            for function in told["function"]:
                spec = ToolSpec(
                    name=function["name"],
                    description=function["description"],
                    parameters=function["parameters"],
                )
                specs.setdefault(json.dumps(function, sort_keys=True), spec)
            said = [m["content"] for turn in told["question"] for m in turn if m["role"] == "user"]
            asked.append((" ".join(said), answers[told["id"]]))
    return list(specs.values()), asked


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    specs, asked = _read(parser.parse_args().folder)
    print(f"{len(specs)} functions, {len({s.name for s in specs})} names, {len(asked)} questions")
    _measure("words", ToolIndex(specs), asked)
    if (vectors := static_vectors()) is None:
        print("there are no vectors: pip install 'celery-agents[vectors]'")
    else:
        _measure("words and vectors", ToolIndex(specs, vectors), asked)


def _measure(how: str, index: ToolIndex, asked: Sequence[tuple[str, set[str]]]) -> None:
    shares: dict[int, list[float]] = {depth: [] for depth in _DEPTHS}
    took_s = []
    for question, wanted in asked:
        began = time.perf_counter()
        found = list(dict.fromkeys(spec.name for spec in index.find(question, 60)))
        took_s.append(time.perf_counter() - began)
        for depth, told in shares.items():
            told.append(len(wanted & set(found[:depth])) / len(wanted))
    told_of = "  ".join(f"@{depth} {statistics.mean(told):.3f}" for depth, told in shares.items())
    took_s.sort()
    p50, p99 = took_s[len(took_s) // 2], took_s[-(len(took_s) // 100) - 1]
    print(f"{how:<18}  {told_of}  a search {p50 * 1000:.2f} ms, p99 {p99 * 1000:.2f} ms")


if __name__ == "__main__":
    main()
