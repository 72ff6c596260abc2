"""The official conformance suite of MCP, against a real server of ours, a worker and its journal.

``python -m tests.support.conformance [VERSION …] [--servers N] [--scenario NAME] [--at FOLDER]``

It tells how many checks passed and failed, by version. ``--at``: where the suite is installed, by
``npm install @modelcontextprotocol/conformance@0.2.0-alpha.12 node@22``; else ``npx`` gets it.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.integration.harness import Stack
from tests.support import conforming, fixtures
from tests.support.api import served
from tests.support.round_robin import balanced
from tests.support.workers import migrate

SUITE, NODE = "@modelcontextprotocol/conformance@0.2.0-alpha.12", "node@22"
VERSIONS = ("2025-11-25", "2026-07-28")
#: A run of all scenarios of a version ends within so many seconds.
_SECONDS = 600
_DECIDED = frozenset({"SUCCESS", "FAILURE"})


def options(argv: list[str] | None = None) -> argparse.Namespace:
    """The options of the command line."""
    made = argparse.ArgumentParser(prog="tests.support.conformance", description=__doc__)
    made.add_argument("versions", nargs="*", metavar="VERSION", default=VERSIONS)
    made.add_argument("--servers", type=int, default=1, metavar="N")
    made.add_argument("--scenario", metavar="NAME")
    made.add_argument("--at", type=Path, metavar="FOLDER")
    made.add_argument("--verbose", action="store_true")
    return made.parse_args(argv)


@contextmanager
def stood(folder: Path, servers: int) -> Iterator[str]:
    """A broker, a journal, a worker, and so many servers behind a balancer; gives a URL."""
    config = folder / "agents.toml"
    config.write_text(conforming.CONFIG)
    with fixtures._broker_at(folder) as broker, ExitStack() as stack:
        database = f"sqlite:///{folder / 'journal.db'}"
        migrate(database)
        about = {"AGENTS_CONFIG": str(config), "AGENTS_API_AUTH": "none", "AGENTS_MODULES": "[]"}
        made = Stack(broker.fresh_url(), database, folder, about)
        stack.callback(made.close)
        made.worker()
        env = {"REDIS_URL": made.redis_url, "DATABASE_URL": made.database_url, **about}
        places = []
        for n in range(servers):
            (own := folder / f"api{n}").mkdir()
            places.append(str(stack.enter_context(served(env, own)).base_url).rstrip("/"))
        url = places[0]
        if servers > 1:
            url, _ = stack.enter_context(balanced(places))
        yield f"{url}/mcp"


def suite(asked: argparse.Namespace, url: str, *args: str) -> str:
    """The words of the suite about a server."""
    found = asked.at and asked.at / "node_modules" / ".bin"
    ways = ["npx", "-y", "-p", NODE, "-p", SUITE, "conformance"]
    command = [str(found / "node"), str(found / "conformance")] if found else ways
    with tempfile.TemporaryDirectory() as results:
        whole = [*command, "server", "--url", url, *args, "-o", results]
        done = subprocess.run(whole, capture_output=True, text=True, timeout=_SECONDS, check=False)
        return "\n".join([done.stdout + done.stderr, *_undecided(Path(results))])


def _undecided(results: Path) -> list[str]:
    """The checks that were neither passed nor failed: skipped, warned of, or for information."""
    found = []
    for file in sorted(results.glob("*/checks.json")):
        checks = [c for c in json.loads(file.read_text()) if c["status"] not in _DECIDED]
        scenario = re.sub(r"^server-|-\d{4}-.*$", "", file.parent.name)
        found += [f"· {scenario}: {check['id']} {check['status']}" for check in checks]
    return found


def decided(told: str) -> tuple[int, int]:
    """The checks that passed, and those that failed, by the words of the suite."""
    [passed, failed] = re.findall(r"^Total: (\d+) passed, (\d+) failed", told, re.MULTILINE)[-1]
    return int(passed), int(failed)


def main() -> None:
    """Run it, and tell."""
    asked = options()
    with tempfile.TemporaryDirectory() as folder, stood(Path(folder), asked.servers) as url:
        for version in asked.versions:
            about = ["--scenario", asked.scenario] if asked.scenario else []
            about = about or ["--requirements", version]
            told = suite(asked, url, *about)
            if asked.verbose:
                sys.stdout.write(told)
            for line in re.findall(r"^[✗·] .*$", told, re.MULTILINE):
                sys.stdout.write(f"{line}\n")
            total = re.findall(r"^Total: .*$|^Passed: .*$", told, re.MULTILINE)
            sys.stdout.write(f"{version}: {total[-1] if total else told[-2000:]}\n")


if __name__ == "__main__":
    main()
