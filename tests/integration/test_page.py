"""The page: who may see and do what, whose forms count, and how it looks in a browser."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import httpx2
import pytest

from api.access import COOKIE
from app.access.permissions import Role
from bench.page import LIVE, SIZE, opened
from tests.integration.harness import SOON_S, Stack, eventually
from tests.support.api import Asked, in_process, made_key, served, settings
from tests.support.browser import Browser
from tests.support.drawn import costly
from tests.support.large_map import large_map
from tests.support.ports import free_port
from tests.support.proxy import Proxy

pytestmark = pytest.mark.databases("sqlite")

HTML = {"Accept": "text/html"}
OWN = {"Sec-Fetch-Site": "same-origin", **HTML}
PLACES = ["", "/waiting", "/agents", "/dead-letters", "/statistics", "/limits"]
#: Members of a large map.
MEMBERS = costly(10_000, part=10)
#: Of its page: script and style, and less for each member than any markup takes.
MOST_BYTES = 100_000 + 10 * MEMBERS
#: Rows of members of which an update changes something: whatever is the same stays untouched.
_WATCHED = (
    "window.changed = new Set(); new MutationObserver(all => all.forEach(one =>"
    " changed.add((one.target.closest ? one.target : one.target.parentElement)"
    ".closest('tr')?.id))).observe(document.querySelector('main'),"
    " {subtree: true, childList: true, attributes: true, characterData: true})"
)


@pytest.fixture(scope="module")
def http(request: pytest.FixtureRequest) -> Iterator[Any]:
    stack: Stack = request.getfixturevalue("stack")
    with in_process(settings(stack.redis_url, stack.database_url)) as made:
        yield made


class Visitor:
    """Somebody with a browser; its key is in its cookie."""

    def __init__(self, http: Any, key: str) -> None:
        self.http, self.key = http, key

    def get(self, path: str, **headers: str) -> Any:
        about = {**HTML, "Cookie": f"{COOKIE}={self.key}", **headers}
        return self.http.get(f"/ui{path}", headers=about, follow_redirects=False)

    def send(self, path: str, headers: dict[str, str] = OWN, **fields: str) -> Any:
        about = {"Cookie": f"{COOKIE}={self.key}", **headers}
        return self.http.post(f"/ui{path}", data=fields, headers=about, follow_redirects=False)


@pytest.fixture(scope="module")
def visitors(request: pytest.FixtureRequest, http: Any) -> dict[str, Visitor]:
    url = request.getfixturevalue("stack").database_url
    made = {role.value: Visitor(http, made_key(url, role)) for role in Role}
    made["other"] = Visitor(http, made_key(url, Role.ADMIN, tenant="other"))
    made["all"] = Visitor(http, made_key(url, Role.ADMIN, tenant=None))
    return made


@pytest.mark.parametrize("place", [*PLACES, "/sign-in"])
def test_pages_have_a_strict_policy_and_nothing_inline(
    visitors: dict[str, Visitor], place: str
) -> None:
    told = visitors["all"].get(place)
    assert told.status_code == 200, told.text
    policy = told.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none'")
    assert told.headers["cache-control"] == "no-store"
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", told.text)
    assert re.findall(r"<script([^>]*)>([^<]*)<", told.text) == [
        (' src="/ui/ui.js" type="module"', "")
    ]
    assert len(told.content) < 200_000


def test_nobody_is_asked_for_a_key_and_comes_back(http: Any, visitors: dict[str, Visitor]) -> None:
    told = http.get("/ui/agents", headers=HTML, follow_redirects=False)
    assert (told.status_code, told.headers["location"]) == (303, "/ui/sign-in?next=/ui/agents")
    form = {"key": visitors["user"].key, "next": "/ui/agents"}
    told = http.post("/ui/sign-in", data=form, headers=OWN, follow_redirects=False)
    assert (told.status_code, told.headers["location"]) == (303, "/ui/agents")
    cookie = told.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/ui"} <= set(cookie.split("; "))
    http.cookies.clear()
    told = http.post("/ui/sign-in", data={"key": "ca_x"}, headers=OWN)
    assert told.status_code == 401
    assert "set-cookie" not in told.headers


@pytest.mark.parametrize("after", ["https://example.org", "//example.org", "/ui\\@x", "/keys"])
def test_nobody_is_sent_elsewhere(http: Any, visitors: dict[str, Visitor], after: str) -> None:
    form = {"key": visitors["user"].key, "next": after}
    told = http.post("/ui/sign-in", data=form, headers=OWN, follow_redirects=False)
    assert told.headers["location"] == "/ui"
    http.cookies.clear()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, 404),
        ({"Origin": "http://testserver"}, 404),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://testserver"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "http://example.org"}, 403),
        ({"Origin": "null"}, 403),
        ({}, 403),
    ],
)
def test_forms_of_other_sites_do_nothing(
    visitors: dict[str, Visitor], headers: dict[str, str], status: int
) -> None:
    told = visitors["admin"].send("/runs/gone/cancel", headers)
    assert told.status_code == status, told.text


def test_without_keys_it_has_the_names_of_this_machine_alone(stack: Stack) -> None:
    with in_process(settings(stack.redis_url, stack.database_url, api_auth="none")) as http:
        for host, status in [
            ("127.0.0.1:8000", 200),
            ("localhost", 200),
            ("[::1]:8000", 200),
            ("rebound.example.org", 403),
        ]:
            assert http.get("/ui", headers={**HTML, "Host": host}).status_code == status, host
            for path in ("/tasks", "/agents", "/metrics", "/keys", "/tasks/gone/events"):
                told = http.get(path, headers={"Host": host})
                gone = 404 if "gone" in path else 200
                assert told.status_code == (403 if status == 403 else gone), (path, host)
        about = {"Host": "localhost", "Origin": "http://example.org"}
        assert http.post("/ui/runs/gone/cancel", headers=about).status_code == 403
        for site, status in [("cross-site", 403), ("same-site", 403), ("same-origin", 404)]:
            about = {"Host": "localhost", "Sec-Fetch-Site": site}
            assert http.post("/tasks/gone/cancel", headers=about).status_code == status, site


def test_buttons_are_those_of_a_role(stack: Stack, visitors: dict[str, Visitor]) -> None:
    run = stack.client.vote(
        ["yes", "no"], "May I?", choices=["yes", "no"], rule="unanimous", escalate="person"
    )
    eventually(run.waiting)
    page = f"/runs/{run.id}"
    for role, cancels, answers in [
        ("readonly", False, False),
        ("service", True, False),
        ("user", True, True),
    ]:
        html = visitors[role].get(page).text
        assert ("/cancel" in html, "/approve" in html) == (cancels, answers), role
    assert visitors["other"].get(page).status_code == 404
    key = run.waiting()[0].key
    refused = visitors["readonly"].send(f"{page}/approve", choice='"yes"', key=key)
    assert refused.status_code == 403
    assert visitors["user"].send(f"{page}/approve", choice='"?"', key=key).status_code == 409
    told = visitors["user"].send(f"{page}/approve", choice='"yes"', key=key)
    assert (told.status_code, told.headers["location"]) == (303, f"/ui{page}?done=approve")
    assert run.get(timeout=SOON_S).option == "yes"
    html = eventually(lambda: _ended(visitors["user"], page))
    for words in ("Decision", "a person", "consensus", "Voter"):
        assert words in html


def _ended(visitor: Visitor, page: str) -> str:
    html: str = visitor.get(page).text
    return "" if "data-events" in html else html


def test_a_large_map_is_counts_and_a_page_of_members(
    stack: Stack, visitors: dict[str, Visitor]
) -> None:
    run = stack.client.map("shout", ["x"] * 299 + [7])
    run.get(timeout=SOON_S)
    page = f"/runs/{run.id}"
    html = eventually(lambda: _ended(visitors["user"], page))
    assert html.count('id="step-') == 101
    assert "300 of 300 done" in html
    assert "299 succeeded" in html
    assert "event: end" in visitors["user"].get(f"{page}/events").text
    seen = 0
    while True:
        seen += html.count('id="step-') - 1
        link = re.search(r'href="/ui(/runs/[^"]*after=[^"]*)"', html)
        if link is None:
            break
        html = visitors["user"].get(unescape(link[1])).text
    assert seen == 300
    failed = visitors["user"].get(f"{page}?state=failed").text
    assert failed.count('id="step-') == 2


def test_changes_are_told_until_the_end(stack: Stack, visitors: dict[str, Visitor]) -> None:
    run = stack.client.ask("shout", "x")
    run.get(timeout=SOON_S)
    told = visitors["user"].get(f"/runs/{run.id}/events").text
    assert "event: end" in told
    assert visitors["other"].get(f"/runs/{run.id}/events").status_code == 404


def test_a_step_has_a_page_and_changes_of_its_own(
    stack: Stack, visitors: dict[str, Visitor]
) -> None:
    run = stack.client.map("shout", ["x"] * 200)
    run.get(timeout=SOON_S)
    html = eventually(lambda: _ended(visitors["user"], f"/runs/{run.id}"))
    (first, *_) = re.findall(r'href="/ui(/runs/[0-9a-f-]+)"', html.partition('id="step-')[2])
    assert visitors["user"].get(first).status_code == 200
    assert "event: end" in visitors["user"].get(f"{first}/events").text
    assert visitors["other"].get(f"{first}/events").status_code == 404
    assert visitors["user"].get("/runs/gone/events").status_code == 404


def test_a_session_is_read_a_page_at_a_time(stack: Stack, visitors: dict[str, Visitor]) -> None:
    for number in range(22):
        run = stack.client.ask("shout", f"<b>{number}", session="talk/1", tenant="acme")
        run.get(timeout=SOON_S)
    page = eventually(lambda: _ended(visitors["all"], f"/runs/{run.id}"))
    (link,) = re.findall(r'href="/ui(/sessions/[^"]*)"', page)
    html = visitors["all"].get(unescape(link)).text
    assert html.count('id="exchange-') == 20
    assert "&lt;B&gt;0" in html
    (link,) = re.findall(r'href="/ui(/sessions/[^"]*after=19[^"]*)"', html)
    html = visitors["all"].get(unescape(link)).text
    assert html.count('id="exchange-') == 2
    assert "after=" not in html
    assert visitors["other"].get("/sessions/talk%2F1").status_code == 404
    assert visitors["all"].get("/sessions/none").status_code == 404


def test_a_run_that_no_worker_took_says_why(stack: Stack, visitors: dict[str, Visitor]) -> None:
    run = stack.client.ask("no such agent", "x")
    with pytest.raises(Exception, match="no such agent"):
        run.get(timeout=SOON_S)
    html = visitors["all"].get(f"/runs/{run.id}").text
    assert "no such agent" in html
    assert "card bad" in html
    assert "data-every" not in html


def test_a_dead_letter_is_requeued(visitors: dict[str, Visitor]) -> None:
    path = "/dead-letters/gone/requeue"
    assert visitors["user"].send(path).status_code == 403
    assert visitors["admin"].send(path).status_code == 404


# -- in a browser


@pytest.fixture(scope="module")
def api(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    """A process of the API beside the stack."""
    with served(stack.env, tmp_path_factory.mktemp("api")) as http:
        yield http


@pytest.fixture
def tab(stack: Stack, api: httpx2.Client, chromium: Browser) -> tuple[Browser, str, Asked]:
    key = made_key(stack.database_url, Role.ADMIN, tenant=None)
    base = str(api.base_url).rstrip("/")
    chromium.anew()
    chromium.cookie(base, COOKIE, key)
    return chromium, base, Asked(api, key)


def test_a_run_as_it_happens(stack: Stack, tab: tuple[Browser, str, Asked]) -> None:
    browser_, base, asked = tab
    hostile = "<img src=x onerror='window.hacked=1'>"
    body = {"task": "map", "agent": "slow", "input": [{"seconds": 60}] * 8}
    run_id = asked("POST", "/tasks", body, status=202)["id"]
    browser_.open(f"{base}/ui/runs/{run_id}")
    browser_.run("window.stays = 1")
    browser_.until("document.querySelectorAll('[id^=step-]').length === 9")
    browser_.until("document.querySelector('#live').textContent === 'live'")
    asked("POST", f"/tasks/{run_id}/cancel", status=202)
    browser_.until("document.querySelector('h1 + .badge').textContent === 'cancelled'")
    browser_.until("document.querySelector('#live').textContent === ''")
    assert browser_.run("window.stays") == 1
    asked.ask("refused", hostile)
    browser_.open(f"{base}/ui?agent=refused")
    browser_.run("document.querySelector('td.main a').click()")
    browser_.until("document.querySelector('.card.bad')?.textContent.includes('onerror')")
    assert browser_.run("window.hacked") is None
    for width in (1280, 390):
        browser_.look(width=width)
        assert browser_.run("document.documentElement.scrollWidth") == width
    assert browser_.problems == []


def test_one_that_is_opened_before_its_run_begins(
    stack: Stack, tab: tuple[Browser, str, Asked]
) -> None:
    """It asks again while the run is queued, follows it then, and rests once it has ended."""
    browser_, base, asked = tab
    for worker in stack.workers:
        stack.freeze(worker)
    try:
        body = {"task": "ask", "agent": "slow", "input": {"seconds": 60}}
        run_id = asked("POST", "/tasks", body, status=202)["id"]
        browser_.open(f"{base}/ui/runs/{run_id}")
        browser_.until("document.querySelector('main').dataset.every === '1'")
        browser_.until("document.querySelector('#live').textContent === 'live'")
    finally:
        for worker in stack.workers:
            worker.resume()
    browser_.until("document.querySelector('h1 + .badge').textContent === 'running'")
    browser_.until("document.querySelector('#live').textContent === 'live'")
    asked("POST", f"/tasks/{run_id}/cancel", status=202)
    browser_.until("document.querySelector('h1 + .badge').textContent === 'cancelled'")
    browser_.until("document.querySelector('#live').textContent === ''")
    updates = [browser_.run("document.querySelector('main').dataset.updates")]
    for _ in range(4):  # an update may have been under way
        time.sleep(2.5)  # longer than it asks again in while a run is queued
        updates.append(browser_.run("document.querySelector('main').dataset.updates"))
    assert len({*updates}) <= 2
    assert updates[-1] == updates[-2]


def test_it_comes_back_from_a_service_that_was_away(
    stack: Stack, tab: tuple[Browser, str, Asked]
) -> None:
    """Behind a proxy, which answers for it meanwhile: browsers then give a stream up."""
    browser_, base, asked = tab
    body = {"task": "map", "agent": "slow", "input": [{"seconds": 60}] * 3}
    run_id = asked("POST", "/tasks", body, status=202)["id"]
    with Proxy(base) as proxy:
        browser_.open(f"{proxy.url}/ui/runs/{run_id}")
        browser_.until("document.querySelectorAll('[id^=step-]').length === 4")
        browser_.until("document.querySelector('#live').textContent === 'live'")
        proxy.leave()
        browser_.until("document.querySelector('#live').textContent === 'reconnecting'")
        asked("POST", f"/tasks/{run_id}/cancel", status=202)
        proxy.come_back()
        browser_.until("document.querySelector('h1 + .badge').textContent === 'cancelled'")
        browser_.until("document.querySelector('#live').textContent === ''")
        # A list, which asks by itself every now and then.
        browser_.open(f"{proxy.url}/ui")
        browser_.until("document.querySelector('#live').textContent === 'live'")
        proxy.leave()
        browser_.until("document.querySelector('#live').textContent === 'reconnecting'")
        browser_.run(
            "window.said = []; new MutationObserver(() => said.push(document.querySelector('#live')"
            ".textContent)).observe(document.querySelector('#live'), {childList: true})"
        )
        tries = proxy.refused
        eventually(lambda: proxy.refused >= tries + 2 or None, "it asks again")
        assert browser_.run("said.includes('live')") is False


def test_calls_of_a_step_are_seen_as_they_are_made(
    stack: Stack, tab: tuple[Browser, str, Asked], tmp_path: Path
) -> None:
    browser_, base, asked = tab
    order = {"task": "ask", "agent": "calling", "input": {"folder": str(tmp_path), "calls": 3}}
    run_id = asked("POST", "/tasks", order, status=202)["id"]
    browser_.open(f"{base}/ui/runs/{run_id}")
    for number in range(3):
        words = "1 call" if number == 0 else f"{number + 1} calls"
        browser_.until(
            f"document.querySelector('main summary + ol')?.closest('details')"
            f".querySelector('summary').textContent === '{words}'"
        )
        (tmp_path / f"go-{number}").touch()
    browser_.until("document.querySelector('h1 + .badge').textContent === 'succeeded'")


def test_with_the_keyboard_alone_and_without_scripts(tab: tuple[Browser, str, Asked]) -> None:
    browser_, base, asked = tab
    asked.ask("shout", "x")
    browser_.open(f"{base}/ui")
    browser_.press("Tab")
    assert browser_.run("document.activeElement.textContent") == "Skip to the content"
    assert browser_.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    browser_.press("Enter")
    browser_.press("Tab")
    assert browser_.run("document.activeElement.name") == "show"
    browser_.scripts(allowed=False)
    browser_.open(f"{base}/ui")
    browser_.scripts(allowed=True)
    assert browser_.run("document.querySelectorAll('tbody tr').length") >= 1
    assert browser_.run("document.querySelector('time').textContent.startsWith('20')")
    assert browser_.problems == []


# -- of a map of thousands, while it runs


@pytest.fixture
def idle(redis_url: str, sqlite_journal_url: str, tmp_path: Path) -> Iterator[Stack]:
    """A stack of a test's own, without a worker."""
    made = Stack(redis_url, sqlite_journal_url, tmp_path)
    yield made
    made.close()


@pytest.fixture
def window(chromium: Browser) -> Browser:
    chromium.anew()
    return chromium


def says(number: int) -> str:
    """A condition: the page has so many as done."""
    return f"document.querySelector('#progress h2').textContent.startsWith('{number:,} of')"


def test_it_is_small_and_an_update_touches_what_has_changed(idle: Stack, window: Browser) -> None:
    with (
        large_map(idle.database_url, MEMBERS) as run,
        served(idle.env, idle.directory) as http,
    ):
        run.end(50)
        opened(window, http, idle, run)
        assert window.run(says(50))
        assert window.run("document.querySelectorAll('[id^=step-]').length") == 101
        assert 0 < window.run(SIZE) < MOST_BYTES
        nodes = window.run("document.querySelectorAll('*').length")
        window.run(_WATCHED)
        run.end(3)
        window.until(says(53))
        # Their rows and that of the map; all others only where the line of time has become longer.
        changed = [one for one in window.run("[...changed]") if one]
        assert 3 <= len(changed) <= 101
        assert window.run("document.querySelectorAll('*').length") <= nodes + 50
        run.end(MEMBERS - 100)
        window.until(says(MEMBERS - 47))
        assert window.run("document.querySelectorAll('[id^=step-]').length") == 101
        assert window.problems == []


def test_it_goes_on_with_an_api_that_was_started_again(idle: Stack, window: Browser) -> None:
    port = free_port()
    with large_map(idle.database_url, MEMBERS) as run:
        with served(idle.env, idle.directory, port) as http:
            opened(window, http, idle, run)
            window.run("window.stays = 1")
        window.until("document.querySelector('#live').textContent === 'reconnecting'")
        run.end(70)
        with served(idle.env, idle.directory, port):
            window.until(LIVE)
            window.until(says(70))
            assert window.run("window.stays") == 1
            # The browser itself tells of requests that nobody answered, and nothing else is told.
            assert [one for one in window.problems if "ERR_" not in one] == []
