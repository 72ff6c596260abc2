"""The official conformance suite of MCP, against our client (``conformance_client``).

``python -m tests.support.client_suite [VERSION …] [--scenario NAME] [--at FOLDER]``

It tells how many checks passed and failed, by version, and each one that failed. ``--at``: where
the suite is installed, as for :mod:`tests.support.conformance`.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from tests.support.conformance import NODE, SUITE, VERSIONS
from tests.support.conformance_client import serving

#: All scenarios of a version begin at once, each with a process of its own: milliseconds for one,
#: and seconds for all of them, on two busy cores.
_SCENARIO_MS, _SECONDS = 300_000, 600


class Figures(NamedTuple):
    """The checks of a run that were decided: how many passed, and those that failed by name."""

    passed: int
    failed: tuple[str, ...]


def options(argv: list[str] | None = None) -> argparse.Namespace:
    """The options of the command line."""
    made = argparse.ArgumentParser(prog="tests.support.client_suite", description=__doc__)
    made.add_argument("versions", nargs="*", metavar="VERSION", default=VERSIONS)
    made.add_argument("--scenario", metavar="NAME")
    made.add_argument("--at", type=Path, metavar="FOLDER")
    return made.parse_args(argv)


def figures(version: str, *, scenario: str | None = None, at: Path | None = None) -> Figures:
    """Run all scenarios of a version, or one."""
    found = at and at / "node_modules" / ".bin"
    command = ["npx", "-y", "-p", NODE, "-p", SUITE, "conformance"]
    if found:
        command = [str(found / "node"), str(found / "conformance")]
    which = ["--requirements", version]
    if scenario:
        which = ["--scenario", scenario, "--spec-version", version, "--force"]
    about = ["--timeout", str(_SCENARIO_MS)]
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as client:
        results = Path(folder, "results")
        asked = [*which, *about, "--command", " ".join(client), "-o", str(results)]
        whole = [*command, "client", *asked]
        subprocess.run(whole, capture_output=True, timeout=_SECONDS, check=False)
        return _counted(results)


def _counted(results: Path) -> Figures:
    passed, failed = 0, []
    for file in sorted(results.glob("**/checks.json")):
        scenario = re.sub(r"-\d{4}-\d\d-\d\dT.*$", "", str(file.parent.relative_to(results)))
        for check in json.loads(file.read_text()):
            passed += check["status"] == "SUCCESS"
            if check["status"] == "FAILURE":
                failed.append(f"{scenario}: {check['id']}")
    return Figures(passed, tuple(failed))


def main() -> None:
    """Run it, and tell."""
    asked = options()
    for version in asked.versions:
        told = figures(version, scenario=asked.scenario, at=asked.at)
        for line in told.failed:
            sys.stdout.write(f"✗ {line}\n")
        sys.stdout.write(f"{version}: {told.passed} passed, {len(told.failed)} failed\n")


if __name__ == "__main__":
    main()
