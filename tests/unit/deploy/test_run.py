"""The ``run`` script, in a checkout of nothing but itself and with a stand-in for uv."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from deploy.local.state import ROOT

BARE = "/usr/bin:/bin"
# Makes an environment whose Python says how it was called.
UV = """#!/bin/sh
echo "uv $*"
[ ! -e "$0.broken" ] || exit 1
mkdir -p "$UV_PROJECT_ENVIRONMENT/bin"
echo 'version_info = 3.11.0' >"$UV_PROJECT_ENVIRONMENT/pyvenv.cfg"
cat >"$UV_PROJECT_ENVIRONMENT/bin/python" <<'PYTHON'
#!/bin/sh
more="${TESTS_INSTALLED:+ with $TESTS_INSTALLED}${PYTHONDONTWRITEBYTECODE:+ uncompiled}"
echo "cwd=$PWD path=$PYTHONPATH venv=$VIRTUAL_ENV args=$*$more"
PYTHON
chmod +x "$UV_PROJECT_ENVIRONMENT/bin/python"
echo x >>"$0.calls"
"""
# A Python that is new enough, and can make no environment.
PYTHON = """#!/bin/sh
case "$*" in *version_info*) echo "$0";; *) echo 'no pip here' >&2; exit 1;; esac
"""


class Checkout:
    def __init__(self, folder: Path) -> None:
        self.root = folder / "a checkout"
        self.bin = folder / "bin"
        self.root.mkdir()
        self.bin.mkdir()
        shutil.copy(ROOT / "run", self.root / "run")
        (self.root / "pyproject.toml").write_text(
            '[project]\nname = "x"\n[dependency-groups]\ndev = ["y>=1"]\n'
        )
        (self.root / "uv.lock").write_text("")
        self.program("python3.11", PYTHON)

    def program(self, name: str, text: str) -> Path:
        path = self.bin / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    def run(
        self, *arguments: str, cwd: Path | None = None, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        env = {"PATH": f"{self.bin}:{BARE}", "PYTHON": str(self.bin / "python3.11")}
        return subprocess.run(
            [str(self.root / "run"), *arguments],
            env={**env, **environ},
            cwd=cwd or self.bin,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    @property
    def set_ups(self) -> int:
        calls = self.bin / "uv.calls"
        return len(calls.read_text().split()) if calls.exists() else 0


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


@pytest.fixture
def ready(checkout: Checkout) -> Checkout:
    checkout.program("uv", UV)
    return checkout


@pytest.mark.parametrize("arguments", [(), ("help",), ("--help",)])
def test_help_needs_nothing(checkout: Checkout, arguments: tuple[str, ...]) -> None:
    done = checkout.run(*arguments, PATH=BARE)
    assert done.returncode == 0
    assert all(name in done.stdout for name in ("demo", "up", "test", "check", "clean"))
    assert not (checkout.root / ".local").exists()


def test_unknown_command_is_named(checkout: Checkout) -> None:
    done = checkout.run("tset")
    assert done.returncode == 1
    assert "unknown command: tset" in done.stderr


def test_first_start_sets_up_and_the_second_does_not(ready: Checkout) -> None:
    first, second = ready.run("test", "-x"), ready.run("test", "-x")
    assert (first.returncode, second.returncode) == (0, 0)
    assert first.stdout == second.stdout
    assert "Setting up .venv" in first.stderr
    assert second.stderr == ""
    assert ready.set_ups == 1
    assert "--frozen" in (ready.root / ".local" / "setup.log").read_text()


def test_files_of_tests_run_at_once_but_not_those_that_are_named(ready: Checkout) -> None:
    assert ready.run("test").stdout.endswith(
        "args=-m pytest --at-once 5 --ahead tests/unit/test_checks.py\n"
    )
    assert ready.run("test", "tests/unit").stdout.endswith("args=-m pytest tests/unit\n")


def test_all_of_it_runs_by_the_same_command(ready: Checkout) -> None:
    assert ready.run("test", "--full").stdout.endswith(
        "args=-m pytest --at-once 5 --ahead tests/unit/test_checks.py --full\n"
    )
    given = ready.run("test", "--full", "tests/integration").stdout
    assert given.endswith("args=-m pytest --full tests/integration\n")


@pytest.mark.parametrize(
    ("words", "given"),
    [((), "tests/integration --at-once 4"), (("-k", "votes"), "-k votes")],
)
def test_the_tests_run_with_the_wheel(ready: Checkout, words: tuple[str, ...], given: str) -> None:
    installing, testing = ready.run("test", "--installed", *words).stdout.splitlines()
    folder = f"{ready.root.resolve()}/.local/installed"
    assert installing.endswith(f"args=-m tests.support.wheel {folder} worker,models")
    assert testing.endswith(f"args=-m pytest {given} with {folder}")


@pytest.mark.parametrize("name", ["pyproject.toml", "uv.lock", ".venv/pyvenv.cfg"])
def test_change_of_what_it_was_made_from_sets_up_again(ready: Checkout, name: str) -> None:
    ready.run("test")
    with (ready.root / name).open("a") as file:
        file.write("version = 3.99\n")
    ready.run("test")
    assert ready.set_ups == 2


def test_moved_checkout_is_set_up_again(ready: Checkout) -> None:
    ready.run("test")
    ready.root = ready.root.rename(ready.root.with_name("moved"))
    ready.run("test")
    assert ready.set_ups == 2


def test_programs_see_this_checkout_whatever_is_active(ready: Checkout, tmp_path: Path) -> None:
    done = ready.run(
        *("test", "-k", "two words"),
        VIRTUAL_ENV="/other",
        PYTHONHOME="/other",
        PYTHONDONTWRITEBYTECODE="1",
    )
    root = ready.root.resolve()
    assert done.stdout == f"cwd={root} path={root} venv={root}/.venv args=-m pytest -k two words\n"


def test_demo_stays_where_the_user_is(ready: Checkout, tmp_path: Path) -> None:
    done = ready.run("demo", "--json", "lines.txt", cwd=tmp_path)
    assert f"cwd={tmp_path} " in done.stdout
    assert done.stdout.endswith("args=-P -m deploy.local demo --json lines.txt\n")


def test_failing_set_up_shows_its_log_and_what_to_do(ready: Checkout) -> None:
    (ready.bin / "uv.broken").touch()
    done = ready.run("demo")
    assert done.returncode == 1
    assert "no pip here" in done.stderr
    assert "PIP_INDEX_URL" in done.stderr
    (ready.bin / "uv.broken").unlink()
    assert ready.run("demo").returncode == 0


def test_old_pythons_are_one_error(ready: Checkout) -> None:
    for name in ("python3", "python3.11", "python3.12", "python3.13"):
        ready.program(name, "#!/bin/sh\nexit 1\n")
    done = ready.run("up")
    assert done.returncode == 1
    assert done.stderr.startswith("run: Python 3.11 or newer is needed")
    assert ready.set_ups == 0


def test_set_up_lock_of_a_dead_process_is_taken_over(ready: Checkout) -> None:
    lock = ready.root / ".local" / "setup.lock"
    lock.mkdir(parents=True)
    with subprocess.Popen(["true"]) as dead:
        pass
    (lock / "pid").write_text(str(dead.pid))
    assert ready.run("test").returncode == 0
    assert not lock.exists()


class TestClean:
    @pytest.fixture
    def used(self, ready: Checkout) -> Checkout:
        ready.run("test")
        (ready.root / "mine.txt").touch()
        return ready

    def names(self, checkout: Checkout) -> set[str]:
        return {path.name for path in checkout.root.iterdir()}

    def test_removes_the_state_and_nothing_else(self, used: Checkout) -> None:
        before = self.names(used)
        assert used.run("clean").returncode == 0
        assert self.names(used) == before - {".local"}

    def test_all_removes_the_environment_too(self, used: Checkout) -> None:
        before = self.names(used)
        assert used.run("clean", "--all").returncode == 0
        assert self.names(used) == before - {".local", ".venv"}

    def test_is_refused_while_a_stack_is_up(self, used: Checkout) -> None:
        (used.root / ".venv" / "bin" / "python").write_text("#!/bin/sh\nexit 3\n")
        assert used.run("clean").returncode == 1
        assert (used.root / ".local").exists()

    def test_works_with_a_broken_environment(self, used: Checkout) -> None:
        (used.root / ".venv" / "bin" / "python").write_text("#!/bin/sh\nexit 1\n")
        assert used.run("clean", "--all").returncode == 0
        assert not (used.root / ".local").exists()

    def test_does_not_follow_a_link(self, used: Checkout, tmp_path: Path) -> None:
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        (elsewhere / "precious").touch()
        shutil.rmtree(used.root / ".local")
        (used.root / ".local").symlink_to(elsewhere)
        assert used.run("clean").returncode == 0
        assert (elsewhere / "precious").exists()

    def test_unknown_argument_removes_nothing(self, used: Checkout) -> None:
        assert used.run("clean", "everything").returncode == 1
        assert (used.root / ".local").exists()


def test_scripts_may_be_run() -> None:
    assert os.access(ROOT / "run", os.X_OK)
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert (ROOT / ".ci" / "run").read_text().rstrip().endswith("exec ./run test")
