"""One mend taken out of a process, and what that process then finds.

The modules of the service are compiled from edited source as they are imported. So this one is
run by itself, and imports none of them before that.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from tests.support.interleave.mends import MENDS, Edit, Mend

ROOT = Path(__file__).parents[3]
#: Exit codes.
FOUND, NOT_FOUND = 0, 3
#: Schedules of one case, of pairs and of triples.
OF_A_PAIR, OF_A_TRIPLE = 120, 400


class _Edited(SourceFileLoader):
    """Loads a module from its edited source, and leaves the bytecode of the real one alone."""

    def __init__(self, name: str, path: str, edits: Iterable[Edit]) -> None:
        super().__init__(name, path)
        self._edits = edits

    def get_code(self, fullname: str) -> CodeType:
        source = self.get_source(fullname) or ""
        for edit in self._edits:
            source = edit(source)
        return compile(source, self.path, "exec", dont_inherit=True)


class _Finder(MetaPathFinder):
    def __init__(self, edits: Iterable[Edit]) -> None:
        self.edits = defaultdict[str, list[Edit]](list)
        for edit in edits:
            self.edits[edit.module].append(edit)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in self.edits:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        assert spec is not None, f"there is no {fullname}"
        assert spec.origin is not None
        spec.loader = _Edited(fullname, spec.origin, self.edits[fullname])
        return spec


def take_out(edits: Iterable[Edit]) -> None:
    """Have the modules that are imported from now on be edited ones."""
    finder = _Finder(edits)
    assert not finder.edits.keys() & sys.modules.keys(), "one of them is imported already"
    sys.meta_path.insert(0, finder)


def noticed(mend: Mend, environment: Mapping[str, str]) -> str | None:
    """Take a mend out of another process, and return what noticed that first; None: nothing did.

    Raises:
        RuntimeError: it failed otherwise.
    """
    command = [sys.executable, "-m", "tests.support.interleave.without", mend.name]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in {FOUND, NOT_FOUND}:
        raise RuntimeError(done.stdout + done.stderr)
    return done.stdout.splitlines()[-1] if done.returncode == FOUND else None


def main(argv: Sequence[str]) -> int:
    """Take a mend out, run what has to notice, and print the first thing that does."""
    (name,) = argv
    mend = next(m for m in MENDS if m.name == name)
    take_out(mend.edits)
    found = _by_test(mend) if mend.test else _by_schedules(mend)
    print(found)
    return FOUND if found else NOT_FOUND


def _by_test(mend: Mend) -> str | None:
    import pytest

    code = pytest.main(["-q", "--no-header", "-p", "no:cacheprovider", mend.test])
    if code not in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}:
        raise RuntimeError(f"{mend.test} was not run")
    return mend.test if code == pytest.ExitCode.TESTS_FAILED else None


def _by_schedules(mend: Mend) -> str | None:
    from tests.support.interleave.__main__ import explorer
    from tests.support.interleave.cases import SHARP

    with explorer() as made:
        for case in [case for fault in mend.faults for case in SHARP[fault]]:
            limit = OF_A_TRIPLE if len(case.deeds) > 2 else OF_A_PAIR
            if (breach := made.first(case, limit, "1", mend.breach)) is not None:
                return f"{breach.case} --choices {breach.choices}"
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
