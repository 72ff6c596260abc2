"""The fixtures of all tests, and the order of their files."""

import gc
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path

import pytest
from hypothesis import settings

from app.concurrency.garbage import GARBAGE
from tests.support import collecting, drawn, engines, forking, forks, installed, kept
from tests.support.journals import journals
from tests.support.scratch import scratch
from tests.support.service import CHECKOUT, SERVICE

pytest_plugins = [
    "tests.support.databases",
    "tests.support.fixtures",
    "tests.support.parallel",
]

# Until all tests are collected (below): what is imported and collected stays, and to look through
# it again and again was a part of the time of that.
gc.disable()

# Where pytest makes the folders of tests, unless somebody has said where.
os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(scratch()))

collecting.hasten()
engines.share()
installed.know()
forks.nursery = forks.nursery or forks.Nursery()  # a nested run has the one of the outer run
forking.know_redis()
if SERVICE is not CHECKOUT:
    forks.nursery.know(SERVICE.python, forks.Wheel(SERVICE.folder, SERVICE.app))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Know the option."""
    parser.addoption(
        "--full",
        action="store_true",
        help="run all examples, rows and rounds, and both databases where one is enough by default",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Know how much is to run before the first file of tests is imported."""
    drawn.full = config.option.full
    # A busy machine is no error; what fails is shown once and does not depend on the day.
    examples = drawn.costly(_EXAMPLES, part=3)
    settings.register_profile(
        "tests", deadline=None, derandomize=True, database=None, max_examples=examples
    )
    settings.load_profile("tests")
    of_the_run = ExitStack()
    of_the_run.enter_context(kept.keeping())
    config.add_cleanup(of_the_run.close)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Have what forks import while tests are collected, where several files run at once."""
    assert forks.nursery is not None
    if session.config.option.at_once > 1 and sys.platform == "linux":
        forks.nursery.prepare()


#: Of a property that names no number of its own: as many as Hypothesis draws.
_EXAMPLES = 100
#: The part of a run in which files begin whose tests wait.
_WAITING_PART = 0.85
#: A file leaves less garbage than what it takes to look for it as often as a service does.
_GARBAGE = (5 * GARBAGE[0], *GARBAGE[1:])


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown() -> None:
    """Have the processes of the next test begin as those of the first one."""
    assert forks.nursery is not None
    forks.nursery.restore()


@pytest.fixture(autouse=True)
def _nothing_noted() -> None:
    """What one test noted is told by the next one all the same."""
    from celery_agents import noted

    noted._notes._places.clear()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mix files whose tests wait for workers with those that compute: both cores have work.

    Several files run at once, in this order. What takes longest is not last: the scenarios, the
    checks of the whole checkout, and all that waits. The files at the end take seconds each.
    """
    files = [list(tests) for _, tests in groupby(items, lambda item: item.path)]
    root = Path(__file__).parent
    computing = [f for f in files if f[0].path.is_relative_to(root / "unit")]
    waiting = [f for f in files if f not in computing]
    computing.sort(key=lambda f: len(f[0].path.relative_to(root).parts))
    places = [(_WAITING_PART * n / len(waiting), f) for n, f in enumerate(waiting)]
    places += [(n / len(computing), f) for n, f in enumerate(computing)]
    items[:] = [item for _, f in sorted(places, key=lambda place: place[0]) for item in f]


def _fixtures_of(item: pytest.Item) -> Sequence[str]:
    return item.fixturenames if isinstance(item, pytest.Function) else ()


def pytest_sessionfinish() -> None:
    """Remove what was made for all runners."""
    journals.close()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Leave what was collected out of what the garbage collector looks through, again and again."""
    options = session.config.option
    if options.at_once > 1 and not options.collectonly:
        drawn.begin()
        if used := sys.modules.get("tests.support.apart"):
            used.share()
        journals.prepare({name for item in session.items for name in _fixtures_of(item)})
    gc.freeze()  # with what garbage there is: to look for it takes 2 s, once
    gc.set_threshold(*_GARBAGE)
    gc.enable()
