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
from tests.support.drawn import in_turn

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
def test_killed(request):
    os.kill(os.getpid(), 9)
def test_after(): open("after", "w").close()
"""
AMID = """
    import struct
    channel = request.config.pluginmanager.get_plugin("at-once")._channel
    os.write(channel.fileno(), struct.pack("!i", 64) + b"too little")
    os._exit(0)
"""
LEAVES = """
import os, time
def test_leaves(request):
    kept = request.config.pluginmanager.get_plugin("at-once")._channel.fileno()
    if not os.fork():
        os.closerange(0, kept)
        os.closerange(kept + 1, 1_000)
        while os.path.exists("lasts"): time.sleep(0.01)
        os._exit(0)
"""
ENDS = """
import os
def pytest_plugin_registered(plugin_name):
    if plugin_name == "at-once": os._exit(0)
"""
UNPLUGS = """
def test_unplugs(request):
    request.config.pluginmanager.unregister(name="at-once")
    assert False
def test_next(): pass
"""
LESS = """
def pytest_generate_tests(metafunc):
    ahead = metafunc.config.pluginmanager.has_plugin("at-once")
    metafunc.parametrize("n", range(1 if ahead else 3))
def test_it(n): pass
"""
HANGS = """
import time
import pytest
@pytest.mark.timeout(1, func_only=True)
def test_hangs():
    try: time.sleep(600)
    except Exception: pass
"""
ENDING = """
import os, time
def test_ends():
    try:
        os.symlink(str(os.getpid()), "begun")
        time.sleep(600)
    finally:
        open("ending", "w").close()
        time.sleep(2)
        open("ended", "w").close()
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
PASSES = "def test_it(): pass"
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


@pytest.mark.parametrize(
    ("end", "code"),
    in_turn([(AMID, 0), ("os._exit(0)", 0), ("os.kill(os.getpid(), 9)", -9)], 0, part=2),
)
def test_a_process_that_ends_amid_a_test_fails_it_and_the_next_ones_run(
    tmp_path: Path, end: str, code: int
) -> None:
    killed = KILLED.replace("os.kill(os.getpid(), 9)", end)
    done = _run(tmp_path, first=FIRST, killed=killed)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "2 failed, 4 passed, 1 skipped, 1 warning" in done.stdout
    assert f"The process that ran test_killed.py::test_killed ended with {code}." in done.stdout
    assert (tmp_path / "after").exists()


def test_a_process_of_a_test_that_outlives_it_does_not_keep_the_run(tmp_path: Path) -> None:
    (tmp_path / "lasts").touch()
    done = _run(tmp_path, leaves=LEAVES, other=PASSES)
    (tmp_path / "lasts").unlink()
    assert done.returncode == 0, done.stdout
    assert "2 passed in" in done.stdout


def test_processes_that_end_before_any_test_end_the_run(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(ENDS)
    done = _run(tmp_path, one=PASSES, other=PASSES)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    for name in ("one", "other"):
        assert done.stdout.count(f"FAILED test_{name}.py::test_it") == 1, done.stdout


@pytest.mark.parametrize(
    ("text", "options", "lost"),
    [
        (UNPLUGS, (), {"test_unplugs", "test_next"}),
        (LESS, ("--ahead", "test_text.py"), {"test_it[1]", "test_it[2]"}),
    ],
    ids=["reports", "tests"],
)
def test_what_was_collected_and_is_not_told_of_fails_the_run(
    tmp_path: Path, text: str, options: tuple[str, ...], lost: set[str]
) -> None:
    done = _run(tmp_path, *options, text=text, other=PASSES)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout
    told = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("FAILED")]
    assert sorted(told) == sorted(f"test_text.py::{name}" for name in lost)


def test_a_time_limit_fails_its_test(tmp_path: Path) -> None:
    done = _run(tmp_path, "-p", "pytest_timeout", hangs=HANGS, other=PASSES)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "Timeout (>1.0s)" in done.stdout
    assert "1 failed, 1 passed" in done.stdout


@pytest.mark.parametrize(
    "error", in_turn(["ConnectionResetError", "EOFError", "ValueError"], 0, part=3)
)
def test_a_fixture_that_fails_as_its_process_ends_fails_the_run(tmp_path: Path, error: str) -> None:
    text = f"""
import pytest
@pytest.fixture(scope="session")
def kept():
    yield
    raise {error}("not ended")
def test_it(kept): pass
"""
    done = _run(tmp_path, one=text, other=PASSES)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "not ended" in done.stderr
    assert "1 failed, 2 passed" in done.stdout


def test_the_first_failure_ends_what_runs_beside_it(tmp_path: Path) -> None:
    done = _run(tmp_path, "-x", stays=STAYS, fails=FAILS_THEN)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "stopping after 1 failures" in done.stdout
    assert (tmp_path / "ended").exists()


AHEAD = """
import os, time
def test_meets_those_who_collect():
    open("ahead", "w").close()
    while not os.path.exists("collected"): time.sleep(0.01)
def test_of_its_own(tmp_path): assert tmp_path.is_dir()
"""
COLLECTED = """
import os, time
while not os.path.exists("ahead"): time.sleep(0.01)
open("collected", "w").close()
def test_it(): pass
"""


@pytest.mark.parametrize("at_once", ["2", "3"])
def test_a_file_runs_while_others_are_collected(tmp_path: Path, at_once: str) -> None:
    options = ("--at-once", at_once, "--ahead", "test_ahead.py")
    done = _run(tmp_path, *options, ahead=AHEAD, collected=COLLECTED, third=PASSES, fourth=PASSES)
    assert done.returncode == 0, done.stdout
    assert "5 passed in" in done.stdout


def test_a_file_that_runs_ahead_and_is_not_wanted_is_not_told(tmp_path: Path) -> None:
    (tmp_path / "test_ahead.py").write_text(STAYS)
    done = _run(tmp_path, "--ahead", "test_ahead.py", "test_one.py", one=PASSES)
    assert "1 passed in" in done.stdout
    done = _run(tmp_path, "--ahead", "test_ahead.py", "-k", "it", one=PASSES)
    assert "1 passed, 1 deselected in" in done.stdout


def test_a_failure_of_what_runs_ahead_is_told_once(tmp_path: Path) -> None:
    done = _run(tmp_path, "--ahead", "test_killed.py", killed=KILLED, one=PASSES)
    assert "1 failed, 3 passed in" in done.stdout
    assert "The process that ran test_killed.py::test_killed ended with -9." in done.stdout


def test_what_does_not_collect_fails_the_run(tmp_path: Path) -> None:
    done = _run(tmp_path, first="import nothing_such", second=PASSES)
    assert done.returncode == pytest.ExitCode.INTERRUPTED
    assert "1 error" in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_the_one_that_collected(tmp_path: Path, number: int) -> None:
    (tmp_path / "test_stays.py").write_text(STAYS.replace("sleep(600)", "sleep(2)"))
    (tmp_path / "test_other.py").write_text(PASSES)
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


def test_what_a_test_ends_as_the_terminal_interrupts_it_ends(tmp_path: Path) -> None:
    """All processes are interrupted at once, and then by the one that collected, too."""
    (tmp_path / "test_ending.py").write_text(ENDING)
    (tmp_path / "test_other.py").write_text(PASSES)
    process = subprocess.Popen(
        _command(f"--basetemp={tmp_path / 'tmp'}"),
        cwd=tmp_path,
        env=_environment(),
        stdout=subprocess.DEVNULL,
    )
    while not (tmp_path / "begun").is_symlink():
        time.sleep(0.01)
    os.kill(int((tmp_path / "begun").readlink().name), signal.SIGINT)
    while not (tmp_path / "ending").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.wait() == pytest.ExitCode.INTERRUPTED
    assert (tmp_path / "ended").exists()
