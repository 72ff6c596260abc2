"""Pages that are lists: their size, their next page, and what they say without a worker."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from api.ui import routes
from api.ui.frame import heading, page
from api.ui.lists import Answerer, agents, budgets, in_flower, targets, wishes
from api.ui.sessions import exchanges
from api.ui.vote import decision
from celery_agents.contracts.budgets import BudgetPolicy, BudgetState, Spent
from celery_agents.contracts.outcome import State, Usage
from celery_agents.contracts.watching import Stats, StatsWanted, StepStats
from celery_agents.errors import ResultTimeoutError
from tests.support.browser import CHROMIUM, Browser, browser

CSS = Path(routes.__file__).with_name("ui.css")
WHO: Any = SimpleNamespace(tenant=None, may=lambda _: True, id="k", role="user", name="k")
MOST_BYTES = 200_000


def wish(number: int, **more: Any) -> dict[str, Any]:
    about = {"key": f"k{number}", "run_id": f"r{number}", "since": 1.0, "tool": None}
    about |= {"arguments": None, "why": None, "asks": None, "by": ()}
    return {**about, "question": "?", "choices": None, **more}


def letter(number: int) -> dict[str, Any]:
    about = {"id": f"l{number}", "task": "agents.ask", "cause": "attempts", "kind": "step"}
    return {**about, "reason": "x" * 9_000, "attempts": 3, "at": 100.5 - number}


class Pages:
    """The parts of an API whose journal has these rows, and no worker."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.desk = SimpleNamespace(wishes=self._rows, letters=self._rows)
        self.client = SimpleNamespace(budgets=None, limits=SimpleNamespace(list=None))
        self.rows = rows

    def _rows(self, *about: Any) -> list[dict[str, Any]]:
        self.asked.append(about)
        return self.rows[: about[1]]

    async def read(self, work: Any, *about: Any) -> Any:
        return work(*about)

    async def ask(self, *_: Any, timeout: float = 10.0) -> Any:  # noqa: ASYNC109 - as it is
        assert timeout <= 3
        raise ResultTimeoutError("nobody")


def body(response: Coroutine[Any, Any, Any]) -> str:
    return bytes(asyncio.run(response).body).decode()


@pytest.mark.parametrize("question", ["W" * 4_000, {"a": "W" * 4_000}])
def test_what_waits_is_a_page_at_a_time_and_small(question: Any) -> None:
    rows = [wish(n, question=question, why="w" * 4_000, choices=["c" * 200] * 5) for n in range(40)]
    parts: Any = Pages(rows)
    told = body(routes.waiting(parts, WHO))
    assert len(told.encode()) < MOST_BYTES
    assert 'href="/ui/waiting?after=k24"' in told
    assert 'id="wish-k24"' in told
    assert 'id="wish-k25"' not in told
    assert "more characters" in told
    parts.rows = rows[:25]
    assert "after=" not in body(routes.waiting(parts, WHO, after="k24"))
    assert parts.asked[1] == (None, 26, "k24")


def test_all_wishes_of_a_run_are_small_too() -> None:
    rows = [wish(n, question="W" * 4_000) for n in range(100)]
    assert len(wishes(rows, answers=Answerer("k", "user"), linked=False)) < MOST_BYTES
    assert "W" * 4_000 in wishes(rows[:1], answers=Answerer("k", "user"))


def test_a_decision_of_many_long_reasons_is_small() -> None:
    ballot = {"voter": "v", "option": "a", "reason": "W" * 1_200}
    about = {"option": "a", "decided_by": "rule", "rule": "majority", "consensus": 1}
    told = decision({**about, "tally": {"a": 200}, "ballots": [ballot] * 200})
    assert len(told) < MOST_BYTES
    assert "W" * 400 + "…" in told


def test_dead_letters_are_a_page_at_a_time_and_small() -> None:
    parts: Any = Pages([letter(n) for n in range(60)])
    told = body(routes.letters(parts, WHO))
    assert len(told.encode()) < MOST_BYTES
    assert 'href="/ui/dead-letters?after=51.5+l49"' in told
    parts.rows = []
    assert "after=" not in body(routes.letters(parts, WHO, after="51.5 l49"))
    assert parts.asked[1] == (None, 51, (51.5, "l49"))


def test_limits_say_so_soon_where_no_worker_is_up() -> None:
    told = body(routes.limits(Pages([]), WHO))  # type: ignore[arg-type]
    assert "No worker says how" in told
    assert 'data-every="5"' in told


def test_agents_have_their_day_and_their_last_failure() -> None:
    spent = Usage(cost_usd=0.25)
    well = StepStats(name="gpt", state=State.SUCCEEDED, count=1_200, median_s=0.5, p95_s=2.0)
    day = [well.model_copy(update={"usage": spent}), well.model_copy(
        update={"state": State.FAILED, "count": 3, "median_s": 9.0, "usage": spent}
    )]  # fmt: skip
    row = {"name": "gpt", "kind": "model", "effects": "pure", "description": "", "seen_at": 1.0}
    health = {"state": "unhealthy", "latency_ms": None, "message": "HTTP 503 <b>"}
    told = agents([{**row, "health": health, "stats": day}])
    assert "Last probe: HTTP 503 &lt;b&gt;" in told
    assert "1,203, 3 failed" in told
    assert "500 ms, 2.0 s" in told
    assert "$0.50" in told
    assert "Cost" not in agents([{**row, "health": health}])


def test_statistics_are_shown_to_those_who_may_read_them() -> None:
    row = StepStats(name="gpt", state=State.SUCCEEDED, count=1)
    wanted: list[StatsWanted] = []

    def within(asked: StatsWanted) -> Stats:
        wanted.append(asked)
        return Stats(since=1.0, until=2.0, counted_until=1.0, rows=(row,))

    parts: Any = Pages([])
    parts.statistics = SimpleNamespace(within=within)
    nobody: Any = SimpleNamespace(tenant="acme", may=lambda _: False)
    assert asyncio.run(routes._day(parts, nobody)) == {}
    somebody: Any = SimpleNamespace(tenant="acme", may=lambda needed: needed == "stats:read")
    assert asyncio.run(routes._day(parts, somebody)) == {"gpt": [row]}
    assert [asked.tenant for asked in wanted] == ["acme"]


def test_a_link_leads_to_flower() -> None:
    told = in_flower("https://f.example/", "task/a<b", "There")
    assert 'href="https://f.example/task/a%3Cb"' in told


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as made:
        yield made


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium: apt-get install chromium")
def test_nothing_is_wider_than_the_window(tab: Browser, tmp_path: Path) -> None:
    """Whatever stands in a page without a blank in it."""
    word = "W" * 3_000
    asked = wish(1, question=word, why=word, choices=[word[:200], word[:200]])
    called = wish(2, tool=word, arguments={"a": word}, run_id=word)
    ballot = {"voter": word, "option": word, "reason": word, "weight": 1, "abstained": None}
    about = {"option": word, "decided_by": "a", "rule": "majority", "consensus": 1}
    voted = {**about, "tally": {word: 1}, "ballots": [ballot]}
    made = page("x", wishes([asked, called], answers=Answerer("k", "user")), decision(voted)).body
    html = bytes(made).decode().replace("</head>", f"<style>{CSS.read_text()}</style></head>")
    (tmp_path / "page.html").write_text(html)
    tab.look(width=1280)
    tab.open(f"file://{tmp_path}/page.html")
    assert tab.run("getComputedStyle(document.querySelector('.stack')).display") == "grid"
    for width in (1280, 390):
        tab.look(width=width)
        assert tab.run("document.documentElement.scrollWidth") <= width


#: Where the last link of the head ends.
_RIGHT = (
    "Math.max(...[...document.querySelectorAll('nav a')]"
    ".map(link => link.getBoundingClientRect().right))"
)


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium: apt-get install chromium")
def test_a_session_is_read_on_a_phone_whatever_stands_in_it(tab: Browser, tmp_path: Path) -> None:
    """Texts that are markup stay texts, and each page is reached without being scrolled to."""
    bad = "<script>document.title='bad'</script><img src=x onerror=\"document.title='bad'\">"
    texts = [bad, "W" * 3_000, "\u202egnp.exe", "a\u0300" * 500, "\x00\x1b[31m</pre>", ""]
    rows = [
        {
            "place": n,
            "at": 1e9,
            "run_id": told or None,
            "agent": told,
            "tokens": 10**12,
            "messages": [
                {"role": told, "content": told},
                {"role": "assistant", "tool_calls": [{"name": told, "arguments": {told: told}}]},
            ],
        }
        for n, told in enumerate(texts)
    ]
    for name, shown_rows in (("full", rows), ("empty", [])):
        made = page(bad, heading("Session", texts[1][:180]), exchanges(shown_rows), who=WHO).body
        html = bytes(made).decode().replace("</head>", f"<style>{CSS.read_text()}</style></head>")
        (tmp_path / f"{name}.html").write_text(html)
    for name in ("full", "empty"):
        tab.open(f"file://{tmp_path}/{name}.html")
        assert tab.run("document.title").startswith("<script>")
        assert tab.run("document.querySelectorAll('main script, main img').length") == 0
        for width in (1280, 360, 320):
            tab.look(width=width)
            assert tab.run("document.documentElement.scrollWidth") <= width
            assert tab.run(_RIGHT) <= width


def shown(policy: dict[str, Any], **amounts: Spent) -> str:
    made = BudgetPolicy.model_validate(policy)
    return str(budgets([BudgetState(name="company", policy=made, **amounts)]))


@pytest.mark.parametrize(
    ("policy", "amounts", "used", "words"),
    [
        ({"calls": 1}, {"spent": Spent(calls=1)}, "100%", "1 calls"),
        ({"tokens": 1000}, {"spent": Spent(tokens=250)}, "25%", "250 tokens"),
        ({"usd": 2.0}, {"spent": Spent(nano_usd=10**9)}, "50%", "$1.00"),
        ({"usd": 2.0, "calls": 4}, {"reserved": Spent(nano_usd=1, calls=3)}, "75%", "3 calls"),
        ({"calls": 10}, {"spent": Spent(calls=4), "in_doubt": Spent(calls=4)}, "80%", "4 calls"),
        ({"calls": 2}, {"spent": Spent(calls=3)}, "150%", "3 calls"),
        ({"calls": 2}, {}, "0%", "—"),
    ],
)
def test_what_is_used_of_a_budget(
    policy: dict[str, Any], amounts: dict[str, Spent], used: str, words: str
) -> None:
    html = shown(policy, **amounts)
    assert f"{used} used" in html
    assert words in html
    assert ("spent</b>" in html) is (used in {"100%", "150%"})


@pytest.mark.parametrize(("age_s", "state"), [(44.0, "healthy"), (46.0, "stale")])
def test_an_old_finding_says_nothing_any_more(age_s: float, state: str) -> None:
    row = {"target": "journal", "state": "healthy", "lasts_s": 900.0, "latency_ms": 1.0}
    html = str(targets([{**row, "age_s": age_s, "message": None}], 45.0))
    assert f"s-{state}" in html
