"""Files of tests that run at once are told of as those of any run, whatever becomes of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from deploy.local.state import ROOT

FIRST = """
import os, warnings
import pytest

@pytest.fixture(scope="session")
def kept():
    yield os.getpid()
    open("ended", "a").write(f"{os.getpid()}\\n")

@pytest.fixture(scope="module")
def of_the_file(kept):
    yield
    open("files", "a").write("first\\n")

def test_passes(kept, of_the_file): pass

def test_warns(): warnings.warn("careful")

def test_fails(tmp_path):
    print("said", 7)
    assert tmp_path.is_dir() and 1 == 2

@pytest.mark.skip(reason="not today")
def test_skipped(): pass
"""
SECOND = """
import os, time
def test_meets():
    "Until the other file's tests have run: both run at once."
    open("second", "w").close()
    while not os.path.exists("third"): time.sleep(0.01)
"""
THIRD = """
import os, time
def test_meets():
    open("third", "w").close()
    while not os.path.exists("second"): time.sleep(0.01)
"""
KILLED = """
import os
def test_before(): pass
def test_killed(): os.kill(os.getpid(), 9)
def test_after(): open("after", "w").close()
"""
STAYS = """
import time
import pytest

@pytest.fixture(scope="session")
def kept():
    yield
    open("ended", "w").close()

def test_stays(kept):
    open("begun", "w").close()
    time.sleep(600)
"""
FAILS_THEN = """
import os, time
def test_fails():
    while not os.path.exists("begun"): time.sleep(0.01)
    assert False
"""


def _command(*options: str) -> list[str]:
    own = ["-p", "tests.support.parallel", "-p", "no:cacheprovider", "--at-once", "3", "-ra"]
    return [sys.executable, "-m", "pytest", *own, *options]


def _environment() -> dict[str, str]:
    path = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    return path | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


def _run(folder: Path, *options: str, **files: str) -> subprocess.CompletedProcess[str]:
    for name, text in files.items():
        (folder / f"test_{name}.py").write_text(text)
    return subprocess.run(
        [*_command(*options), f"--basetemp={folder / 'tmp'}"],
        cwd=folder,
        env=_environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def test_all_is_told_as_by_any_run(tmp_path: Path) -> None:
    options = ("--junitxml=told.xml", "--durations=1", "--durations-min=0")
    done = _run(tmp_path, *options, first=FIRST, second=SECOND, third=THIRD)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "1 failed, 4 passed, 1 skipped, 1 warning" in done.stdout
    for told in (
        "FAILED test_first.py::test_fails - ",
        "SKIPPED [1] test_first.py:",
        "UserWarning: careful",
        "said 7",
        "slowest 1 duration",
    ):
        assert done.stdout.count(told) == 1, done.stdout
    tests = ET.parse(tmp_path / "told.xml").getroot()[0]
    assert {name: tests.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "6",
        "failures": "1",
        "errors": "0",
        "skipped": "1",
    }


def test_fixtures_end_once_with_the_file_and_with_the_process(tmp_path: Path) -> None:
    _run(tmp_path, first=FIRST, second=SECOND, third=THIRD)
    assert (tmp_path / "files").read_text() == "first\n"
    assert len((tmp_path / "ended").read_text().split()) == 1


def test_options_of_any_run_hold(tmp_path: Path) -> None:
    files = {"first": FIRST, "second": SECOND, "third": THIRD}
    done = _run(tmp_path, "-v", "-k", "meets or passes", **files)
    assert done.returncode == 0
    assert "3 passed, 3 deselected" in done.stdout
    told = [line for line in done.stdout.splitlines() if "PASSED" in line]
    assert sorted(line.split()[0] for line in told) == [
        "test_first.py::test_passes",
        "test_second.py::test_meets",
        "test_third.py::test_meets",
    ]


def test_a_process_that_ends_amid_a_test_fails_it_and_the_next_ones_run(tmp_path: Path) -> None:
    done = _run(tmp_path, first=FIRST, killed=KILLED)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "2 failed, 4 passed, 1 skipped, 1 warning" in done.stdout
    assert "The process that ran test_killed.py::test_killed ended with -9." in done.stdout
    assert (tmp_path / "after").exists()


def test_a_fixture_that_fails_as_its_process_ends_fails_the_run(tmp_path: Path) -> None:
    text = """
import pytest
@pytest.fixture(scope="session")
def kept():
    yield
    raise ValueError("not ended")
def test_it(kept): pass
"""
    done = _run(tmp_path, one=text, other="def test_it(): pass")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "not ended" in done.stderr
    assert "1 failed, 2 passed" in done.stdout


def test_the_first_failure_ends_what_runs_beside_it(tmp_path: Path) -> None:
    done = _run(tmp_path, "-x", stays=STAYS, fails=FAILS_THEN)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "stopping after 1 failures" in done.stdout
    assert (tmp_path / "ended").exists()


def test_what_does_not_collect_fails_the_run(tmp_path: Path) -> None:
    done = _run(tmp_path, first="import nothing_such", second="def test_it(): pass")
    assert done.returncode == pytest.ExitCode.INTERRUPTED
    assert "1 error" in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_the_one_that_collected(tmp_path: Path, number: int) -> None:
    (tmp_path / "test_stays.py").write_text(STAYS.replace("sleep(600)", "sleep(2)"))
    (tmp_path / "test_other.py").write_text("def test_it(): pass")
    # Its pipe ends with the last process that has it.
    process = subprocess.Popen(
        _command(f"--basetemp={tmp_path / 'tmp'}"),
        cwd=tmp_path,
        env=_environment(),
        stdout=subprocess.PIPE,
    )
    while not (tmp_path / "begun").exists():
        time.sleep(0.01)
    process.send_signal(number)
    process.communicate()
    assert process.returncode in {pytest.ExitCode.INTERRUPTED, -signal.SIGKILL}
    assert (tmp_path / "ended").exists()
