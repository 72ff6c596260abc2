"""The page of a run that is a map of 10,000, and ``agents runs show`` of one of 20,000.

The map is rows in a journal, and moves on as it is told: what is measured is the page. A process of
the API serves it to a headless Chromium, and is ended and started again underneath. Times of a
browser mean little beside other work on the same machine: the least and the median are told.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from api.access import COOKIE
from app.access.permissions import Role
from app.journal.schema.engine import connect
from app.journal.stores.overview import Overview
from bench.journals import journals
from tests.integration.harness import Stack
from tests.support.api import made_key, served
from tests.support.browser import CHROMIUM, Browser, browser
from tests.support.large_map import LargeMap, large_map
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer

MEMBERS, SHOWN_MEMBERS, UPDATES, LOOKS = 10_000, 20_000, 20, 40
LIVE = "document.querySelector('#live').textContent === 'live'"
#: What the page is made of, uncompressed: what it asks for anew later is left out.
SIZE = (
    "performance.getEntriesByType('navigation').concat(performance.getEntriesByType('resource')"
    ".filter(one => ['link', 'script', 'css', 'img'].includes(one.initiatorType)))"
    ".reduce((sum, one) => sum + one.decodedBodySize, 0)"
)
_PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
_UPDATES = "performance.getEntriesByName('update').map(one => one.duration)"


def main() -> None:
    """Print the figures of both databases."""
    for database, url in journals():
        found: dict[str, Any] = {"bench": "page", "database": database}
        found["show_ms"] = _shown(url)
        if CHROMIUM is None:
            print("Chromium was not found: only the command's figures are told")
        else:
            found |= _page(url)
        print(json.dumps(found), flush=True)


def _shown(url: str) -> dict[str, float]:
    """Milliseconds of CPU for what ``agents runs show`` reads: of who reads, and of PostgreSQL."""
    engine = connect(url)
    with large_map(url, SHOWN_MEMBERS) as run:
        run.end(SHOWN_MEMBERS // 2)
        Overview(engine).run(run.run_id)
        before, began = _servers_s(), time.thread_time()
        for _ in range(LOOKS):
            Overview(engine).run(run.run_id)
        reader_s, server_s = time.thread_time() - began, _servers_s() - before
    engine.dispose()
    return {"reader": _ms(reader_s / LOOKS), "server": _ms(server_s / LOOKS)}


def _servers_s() -> float:
    """CPU seconds of PostgreSQL up to now."""
    ours = psutil.Process().children(recursive=True)
    return float(sum(sum(p.cpu_times()[:2]) for p in ours if p.name() == "postgres"))


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 1)


def _page(url: str) -> dict[str, Any]:
    with (
        tempfile.TemporaryDirectory() as folder,
        RedisServer(Path(folder) / "broker") as broker,
        large_map(url, MEMBERS) as run,
        browser(Path(folder) / "profile") as tab,
    ):
        stack, port = Stack(broker.url, url, Path(folder)), free_port()
        try:
            with served(stack.env, stack.directory, port) as http:
                run.end(50)
                found = _opened(tab, http, stack, run)
                found |= _updated(tab, run)
                told = len(tab.problems)
            return found | {"errors": told, "back_s": _back(tab, stack, port, run)}
        finally:
            stack.close()


def opened(tab: Browser, http: Any, stack: Stack, run: LargeMap) -> None:
    """Sign in, and open the page of a run; it is live then."""
    base = str(http.base_url).rstrip("/")
    tab.open(f"{base}/ui/sign-in")
    tab.cookie(base, COOKIE, made_key(stack.database_url, Role.ADMIN, tenant=None))
    tab.open(f"{base}/ui/runs/{run.run_id}")
    tab.until(LIVE)


def _opened(tab: Browser, http: Any, stack: Stack, run: LargeMap) -> dict[str, float]:
    opened(tab, http, stack, run)
    paints = []
    for _ in range(5):
        tab.open(f"{str(http.base_url).rstrip('/')}/ui/runs/{run.run_id}")
        tab.until(LIVE)
        paints.append(tab.until(_PAINT))
    return {
        "kilobytes": round(tab.run(SIZE) / 1000, 1),
        "first_paint_ms": round(median(paints)),
        "elements": tab.run("document.querySelectorAll('*').length"),
    }


def _updated(tab: Browser, run: LargeMap) -> dict[str, float]:
    """Members end, those that are shown first; until the page has it each time."""
    for number in range(UPDATES):
        before = tab.run("Number(document.querySelector('main').dataset.updates || 0)")
        run.end(5 if number < UPDATES // 2 else 200)
        tab.until(f"Number(document.querySelector('main').dataset.updates || 0) > {before}")
    took = tab.run(_UPDATES)
    return {"update_ms": round(median(took), 1), "longest_update_ms": round(max(took), 1)}


def _back(tab: Browser, stack: Stack, port: int, run: LargeMap) -> float:
    """Seconds from the answer of an API that was started again until the page is live."""
    tab.until("document.querySelector('#live').textContent === 'reconnecting'")
    run.end(100)
    with served(stack.env, stack.directory, port):
        began = time.monotonic()
        tab.until(LIVE)
        return round(time.monotonic() - began, 1)
