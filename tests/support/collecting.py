"""Less time for collecting some hundred files in a fresh checkout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis.internal.conjecture import providers


def hasten() -> None:
    """Have Hypothesis read no constants of the tests: those of what is tested may matter to that.

    It reads all modules that are imported, and writes a file for each.
    """
    module: Any = providers
    local, tests = module.is_local_module_file, f"{Path(__file__).parents[1]}/"
    module.is_local_module_file = lambda path: not path.startswith(tests) and local(path)
