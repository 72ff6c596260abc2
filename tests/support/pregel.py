"""LangGraph's own tests of its engine, with our saver: ``python -m tests.support.pregel LIBRARY``.

LIBRARY is the folder ``libs/langgraph`` of a checkout of LangGraph's repository: its wheels have no
tests. They run twice, in an environment of the versions that they were written for: with
LangGraph's saver for SQLite, and with ours in its place. Those that fail with ours alone run again,
one at a time: some give ten milliseconds to what happens. Told are those that fail then, too.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

from sqlalchemy import func, make_url, select

from app.journal.schema.engine import connect
from app.journal.schema.models import Entry, table
from bench.venvs import python_of
from deploy.local.state import ROOT
from tests.support.workers import migrate

TESTS = ("tests/test_pregel.py", "tests/test_pregel_async.py")
#: Those whose saver is the one for SQLite, which is replaced.
_CHOSEN = "sqlite and not sqlite_aes"
#: What the tests want beside LangGraph.
_OTHERS = (
    *("langgraph-checkpoint-sqlite", "langgraph-checkpoint-postgres", "langchain-core"),
    *("pytest", "pytest-mock", "pytest-timeout", "pytest-xdist", "syrupy"),
    *("pycryptodome", "psycopg[binary]", "psycopg-pool", "redis", "httpx"),
)
_PLUGIN = ROOT / "tests" / "support" / "projects" / "pregel"
_TEST_S = 120
_WHY_MAX = 300


def main() -> int:
    """Run them, say what differs; 0 if nothing does."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("library", type=Path)
    parser.add_argument("--database", help="URL of an empty journal; a file of SQLite otherwise")
    parser.add_argument("-k", default=_CHOSEN, help="which of their tests, as pytest has it")
    given = parser.parse_args()
    told = tomllib.loads((given.library / "pyproject.toml").read_text())
    pins = [f"langgraph=={told['project']['version']}", *_OTHERS, *_savers()]
    python = python_of("pregel", pins)
    with tempfile.TemporaryDirectory() as folder:
        url = given.database or f"sqlite:///{folder}/journal.db"
        migrate(url)
        ours = {"DATABASE_URL": url, "PYTHONPATH": f"{_PLUGIN}{os.pathsep}{ROOT}"}
        theirs = _ran(python, given, Path(folder) / "theirs.xml", {})
        plugin = ("-p", "journal_saver_plugin")
        with_ours = _ran(python, given, Path(folder) / "ours.xml", ours, *plugin)
        new = sorted(name for name, why in with_ours.items() if why and not theirs.get(name))
        again = _ran(python, given, Path(folder) / "again.xml", ours, *plugin, only=new)
        lines = _lines_in(url)
    failed = {name: again[name] for name in new if again[name]}
    same = theirs.keys() == with_ours.keys()
    print(
        f"{len(with_ours)} tests; failed with theirs: {_failed(theirs)}, ours: {_failed(with_ours)}"
    )
    print(f"lines that ours has in {make_url(url).get_backend_name()}: {lines}")
    print(f"failed with ours alone: {len(new)}; again, one at a time: {len(failed)}")
    for name, why in failed.items():
        print(f"  {name}: {why}")
    return 0 if same and theirs and lines and not failed else 1


def _savers() -> list[str]:
    """Distributions that our saver wants: all that a worker has."""
    about = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed: list[str] = [*about["dependencies"], *about["optional-dependencies"]["worker"]]
    return [*needed, "cryptography", "genai-prices"]


def _lines_in(url: str) -> int:
    """How many lines of threads a journal has: none, if the tests had another one."""
    with connect(url).connect() as connection:
        return connection.execute(select(func.count()).select_from(table(Entry))).scalar_one()


def _failed(results: Mapping[str, str]) -> int:
    return sum(map(bool, results.values()))


def _ran(
    python: Path,
    given: argparse.Namespace,
    report: Path,
    env: Mapping[str, str],
    *options: str,
    only: Sequence[str] | None = None,
) -> dict[str, str]:
    """Each test by its name: why it failed, if it did."""
    if only is not None and not only:
        return {}
    which = ["-n", "2", "-k", given.k, *TESTS] if only is None else _node_ids(only)
    about = [*options, "-q", *which, f"--junitxml={report}", "--tb=short"]
    about += ["-p", "no:cacheprovider", f"--timeout={_TEST_S}"]
    command = [str(python), "-m", "pytest", *about]
    kept = {**os.environ, "PYTHONPATH": "", "NO_DOCKER": "true", **env}
    log = report.with_suffix(".log")
    with log.open("w") as file:
        subprocess.run(command, cwd=given.library, env=kept, stdout=file, stderr=file, check=False)
    if not report.exists():
        sys.exit(log.read_text())
    return {_name(case): _why(case) for case in ET.parse(report).iter("testcase")}


def _node_ids(names: Sequence[str]) -> list[str]:
    """Tests as pytest is asked for them."""
    parts = (name.partition("::") for name in names)
    return [f"{module.replace('.', '/')}.py::{test}" for module, _, test in parts]


def _name(case: ET.Element) -> str:
    """The name of a test without what differs from process to process."""
    return re.sub("0x[0-9a-f]+", "", f"{case.get('classname')}::{case.get('name')}")


def _why(case: ET.Element) -> str:
    told = [*case.findall("failure"), *case.findall("error")]
    return ascii((told[0].get("message") or "it failed")[:_WHY_MAX]) if told else ""


if __name__ == "__main__":
    sys.exit(main())
