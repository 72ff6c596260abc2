"""pytest's plug-in of the wheel: it costs nothing where nobody uses it."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

from deploy.local.state import ROOT

#: Plug-ins of other packages, which take four fifths of the time to import.
OTHERS = {found.name for found in entry_points(group="pytest11")} - {"celery_agents"}
#: A wheel is installed whose files pytest reads, as of each distribution that has a plug-in.
METADATA = "Metadata-Version: 2.1\nName: celery-agents\nVersion: 9\n"


def _site(folder: Path) -> Path:
    info = folder / "celery_agents-9.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(METADATA)
    (info / "entry_points.txt").write_text("[pytest11]\ncelery_agents = pytest_celery_agents\n")
    files = ("pytest_celery_agents.py", "celery_agents/__init__.py", "celery_agents/errors.py")
    (info / "RECORD").write_text("".join(f"{name},,\n" for name in files))
    for name in ("celery_agents", "pytest_celery_agents.py", "app", "agents", "deploy"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def _pytest(folder: Path, test: str, *argv: str) -> subprocess.CompletedProcess[str]:
    file = folder / "test_it.py"
    file.write_text(test)
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(_site(folder / "site"))}
    without = [word for name in sorted(OTHERS) for word in ("-p", f"no:{name}")]
    options = ["-q", "--rootdir", str(folder), *without, *argv]
    command = [sys.executable, "-m", "pytest", *options, str(file)]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


def test_nothing_is_imported_before_it_is_used(tmp_path: Path) -> None:
    test = """
import sys
def test_it():
    assert "pytest_celery_agents" in sys.modules
    ours = {name.split(".")[0] for name in sys.modules} & {"celery_agents", "app", "agents"}
    assert ours == set()
"""
    done = _pytest(tmp_path, test)
    assert done.returncode == 0, done.stdout + done.stderr


def test_asserts_of_the_package_are_not_rewritten(tmp_path: Path) -> None:
    test = """
def test_it(pytestconfig):
    import celery_agents.errors
    hook = pytestconfig.pluginmanager.rewrite_hook
    assert not isinstance(celery_agents.errors.__loader__, type(hook))
    assert "pytest_celery_agents" in hook._must_rewrite  # else nothing was marked
"""
    done = _pytest(tmp_path, test, "-W", "error")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_fixtures_are_there(tmp_path: Path) -> None:
    done = _pytest(tmp_path, "", "--fixtures")
    found = done.stdout
    for name in ("agents_stack", "agents", "scripted", "skip", "kill_worker", "cassette"):
        assert f"\n{name}" in found
