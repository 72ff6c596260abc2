"""The page of a map of thousands, while it runs, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.page import LIVE, SIZE, opened
from tests.integration.harness import Stack
from tests.support.api import served
from tests.support.browser import Browser
from tests.support.drawn import costly
from tests.support.large_map import large_map
from tests.support.ports import free_port

pytestmark = pytest.mark.databases("sqlite")

MEMBERS = costly(10_000)
#: Of the page: its script and style, and less for each member than any markup takes.
MOST_BYTES = 100_000 + 10 * MEMBERS
#: Rows of members of which an update changes something: whatever is the same stays untouched.
_WATCHED = (
    "window.changed = new Set(); new MutationObserver(all => all.forEach(one =>"
    " changed.add((one.target.closest ? one.target : one.target.parentElement)"
    ".closest('tr')?.id))).observe(document.querySelector('main'),"
    " {subtree: true, childList: true, attributes: true, characterData: true})"
)


@pytest.fixture
def stack(redis_url: str, sqlite_journal_url: str, tmp_path: Path) -> Iterator[Stack]:
    made = Stack(redis_url, sqlite_journal_url, tmp_path)
    yield made
    made.close()


@pytest.fixture
def tab(chromium: Browser) -> Browser:
    chromium.anew()
    return chromium


def says(number: int) -> str:
    """A condition: the page has so many as done."""
    return f"document.querySelector('#progress h2').textContent.startsWith('{number:,} of')"


def test_it_is_small_and_an_update_touches_what_has_changed(stack: Stack, tab: Browser) -> None:
    with (
        large_map(stack.database_url, MEMBERS) as run,
        served(stack.env, stack.directory) as http,
    ):
        run.end(50)
        opened(tab, http, stack, run)
        assert tab.run(says(50))
        assert tab.run("document.querySelectorAll('[id^=step-]').length") == 101
        assert 0 < tab.run(SIZE) < MOST_BYTES
        nodes = tab.run("document.querySelectorAll('*').length")
        tab.run(_WATCHED)
        run.end(3)
        tab.until(says(53))
        # Their rows and that of the map; all others only where the line of time has become longer.
        changed = [one for one in tab.run("[...changed]") if one]
        assert 3 <= len(changed) <= 101
        assert tab.run("document.querySelectorAll('*').length") <= nodes + 50
        run.end(MEMBERS - 100)
        tab.until(says(MEMBERS - 47))
        assert tab.run("document.querySelectorAll('[id^=step-]').length") == 101
        assert tab.problems == []


def test_it_goes_on_with_an_api_that_was_started_again(stack: Stack, tab: Browser) -> None:
    port = free_port()
    with large_map(stack.database_url, MEMBERS) as run:
        with served(stack.env, stack.directory, port) as http:
            opened(tab, http, stack, run)
            tab.run("window.stays = 1")
        tab.until("document.querySelector('#live').textContent === 'reconnecting'")
        run.end(70)
        with served(stack.env, stack.directory, port):
            tab.until(LIVE)
            tab.until(says(70))
            assert tab.run("window.stays") == 1
            # The browser itself tells of requests that nobody answered, and nothing else is told.
            assert [one for one in tab.problems if "ERR_" not in one] == []
