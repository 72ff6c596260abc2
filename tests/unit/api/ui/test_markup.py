"""Whatever is no markup is text."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.ui.frame import badge, cost, dollars, lasting, page, tokens
from api.ui.lists import Answerer, agents, letters, runs, wishes
from api.ui.markup import SHOWN_MAX, shown, tag, text
from api.ui.run import RunSheet
from api.ui.sessions import exchanges
from api.ui.statistics import Looked, form, sheet
from api.ui.vote import decision, is_decision
from app.journal.stores.statistics import TimeSlot
from celery_agents.contracts.outcome import State, Usage
from celery_agents.contracts.watching import RunInfo, Stats, StepStats
from tests.support.drawn import costly

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onfocus=alert(1) autofocus '",
    "</td></table></main><style>*{display:none}</style>",
    "<!--",
    "&lt;b&gt;",
    "javascript:alert(1)",
    "\x00\x1b[31m",
    "\u202etxt.exe",
    "\ud800",
    "a" * 5000,
]
ELEMENTS = {
    *("a", "article", "b", "button", "circle", "code", "datalist", "dd", "details", "div", "dl"),
    *("dt", "form", "h1", "h2", "i", "input", "label", "li", "ol", "option", "p", "pre", "rect"),
    *("g", "section", "select", "span", "summary", "svg", "table", "tbody", "td", "text", "th"),
    *("thead", "time", "title", "tr"),
}


class Seen(HTMLParser):
    """Elements, and attributes that would run."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.runs: list[str] = []
        self.words = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        for name, value in attrs:
            address = name in {"href", "src", "action"} and not (value or "").startswith("/ui")
            if name == "style" or name.startswith("on") or address:
                self.runs.append(f"{tag} {name}={value}")

    def handle_data(self, data: str) -> None:
        self.words += data


def hostile_run(word: str) -> dict[str, Any]:
    error = {"kind": word, "message": word}
    step = {
        **dict.fromkeys(("id", "member", "task", "agent", "tenant", "state", "why"), word),
        **dict.fromkeys(("created_at", "started_at", "finished_at"), 1.0),
        "parent_id": "root",
        "attempts": 1,
        "error": error,
        "usage": {"cost_usd": None, "input_tokens": 3},
    }
    call = {"step_id": word, "name": word, "started_at": 1.0, "finished_at": None}
    return {
        "root": {**step, "id": "root", "parent_id": None, "state": "failed"},
        "value": word,
        "asked": word,
        "session": word,
        "finished_at": 2.0,
        "usage": None,
        "counts": {word: 1},
        "whole": True,
        "steps": [step],
        "more": None,
        "calls": [{**call, "cost_usd": None, "error": error}],
        "events": [{"at": 1.0, "step_id": word, "kind": word, "data": {word: word}}],
    }


def hostile_decision(word: str) -> dict[str, Any]:
    ballot = {"voter": word, "option": word, "reason": word, "weight": word, "abstained": None}
    return {
        **dict.fromkeys(("option", "decided_by", "rule", "deadlock", "reason", "quorum"), word),
        "consensus": 2,
        "tally": {word: 3},
        "ballots": [ballot, {"voter": word, "abstained": word}, {"ranking": [word]}],
    }


_LISTED = ("id", "state", "task", "agent", "tenant", "error", "why")


def everywhere(word: str) -> list[Any]:
    row = dict.fromkeys(("id", "state", "task", "agent", "tenant", "kind", "cause", "reason"), word)
    wish: dict[str, Any] = dict.fromkeys(("key", "run_id", "why", "question", "arguments"), word)
    wish |= {"since": 1.0, "asks": None, "by": []}
    offered = {"name": word, "kind": word, "effects": word, "description": word, "seen_at": 1.0}
    told: dict[str, Any] = dict.fromkeys(_LISTED, word)
    info = RunInfo.model_construct(**told, created_at=1.0, finished_at=2.0, usage=None)
    made = RunSheet(hostile_run(word), cancels=True, sessions=True, now=3.0)
    looked = Looked(time="24h", by="agent", agent=word, tenant=word)
    figures = StepStats.model_construct(
        name=word, state=State.FAILED, count=1, errors={word: 1}, median_s=None, usage=Usage()
    )
    stats = Stats.model_construct(since=0.0, until=1.0, counted_until=1.0, rows=(figures,))
    said = {"place": 0, "run_id": word, "agent": word, "at": 1.0, "tokens": 3}
    return [
        runs([info], tenants=True),
        letters([{**row, "kind": "step", "attempts": 1, "at": 1.0}], writes=True),
        wishes([{**wish, "tool": word, "choices": None}], answers=Answerer("me", "")),
        wishes([{**wish, "tool": None, "choices": [word]}], answers=Answerer("me", "")),
        wishes(
            [{**wish, "asks": "flow", "tool": None, "choices": None}], answers=Answerer("me", "")
        ),
        wishes([{**wish, "tool": None, "by": [word]}], answers=Answerer("me", "")),
        agents([{**offered, "health": {"state": word}}]),
        decision(hostile_decision(word)),
        form(looked, [word], tenants=True),
        *sheet(looked, stats, [TimeSlot(0, {"failed": 1}, Usage())]),
        exchanges([{**said, "messages": [{"role": word, "content": word}]}]),
        *made.render(None, None),
    ]


@pytest.mark.parametrize("word", HOSTILE)
def test_hostile_words_are_text_in_every_field(word: str) -> None:
    html = str(text(everywhere(word)))
    seen = Seen(html)
    assert seen.elements <= ELEMENTS, seen.elements - ELEMENTS
    assert seen.runs == []
    shown_word = word[:200].replace("\x00", "")
    assert shown_word in seen.words.replace("\x00", "")
    assert page("a", text(html)).body


@given(st.text(max_size=40))
def test_any_text_comes_back_as_it_was(word: str) -> None:
    seen = Seen(str(tag("p", word, title=word)))
    assert seen.elements == {"p"}
    if not {"\r", "\x00"} & set(word):
        assert seen.words == word


@pytest.mark.parametrize("name", ["style", "onclick", "onerror"])
def test_no_script_and_no_style_stands_in_a_page(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        tag("p", "x", **{name: "alert(1)"})


def test_long_values_are_cut_and_say_so() -> None:
    assert "1 more characters" in shown("x" * (SHOWN_MAX + 1))
    assert "more characters" not in shown("x" * SHOWN_MAX)


#: A vote's decision, as it is journaled.
DECISION: dict[str, Any] = {
    "option": "a",
    "decided_by": "rule",
    "rule": "majority",
    "stopped_by": "none",
    "consensus": 0.5,
    "tally": {"a": 1},
    "scores": {"a": "1"},
    "abstentions": {},
    "quorum": 1,
    "quorum_met": True,
    "samples_used": 1,
    "samples_saved": 0,
    "saved_cost_usd": None,
    "ballots": [{"voter": "v", "option": "a"}],
    "usage": {},
}
_ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**400)
    | st.floats()
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=6,
)
_BALLOT = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        ("voter", "option", "ranking", "approvals", "confidence", "reason", "weight"), _ANYTHING
    ),
)
_LIKE_DECISIONS = st.fixed_dictionaries(
    {
        "consensus": _ANYTHING | st.just(1),
        "tally": _ANYTHING | st.just({}),
        "ballots": _ANYTHING | st.lists(_BALLOT, max_size=3),
    },
    optional=dict.fromkeys(DECISION.keys() - {"consensus", "tally", "ballots"}, _ANYTHING),
)


@settings(max_examples=costly(100, part=3))
@given(st.one_of(_ANYTHING, _LIKE_DECISIONS, st.tuples(st.just(DECISION), _LIKE_DECISIONS)))
def test_whatever_an_agent_answers_is_shown(value: Any) -> None:
    """Of any type, in any place of what looks like a decision."""
    if isinstance(value, tuple):
        whole, parts = value
        value = {**whole, **{name: parts[name] for name in list(parts)[:1]}}
    run = hostile_run("x")
    made = RunSheet(
        {**run, "value": value, "root": {**run["root"], "state": "succeeded"}}, cancels=True
    )
    assert "answer" in str(text(list(made.render(None, None))))


@pytest.mark.parametrize(
    ("value", "holds"),
    [
        (DECISION, True),
        ({**DECISION, "ballots": [{"ranking": 5}]}, False),
        ({**DECISION, "ballots": [{**DECISION["ballots"][0], "approvals": 5}]}, False),
        ({**DECISION, "saved_cost_usd": 10**400}, False),
        ({"consensus": 0.5, "tally": {"a": 1}, "ballots": [{}]}, False),
        ({"consensus": "0.5", "tally": {}, "ballots": []}, False),
        ({"consensus": 1, "tally": {"a": "x"}, "ballots": []}, False),
        ({"consensus": 1, "tally": {}, "ballots": ["x"]}, False),
        ("text", False),
        (None, False),
    ],
)
def test_a_decision_is_told_by_its_fields(value: Any, holds: bool) -> None:
    assert is_decision(value) is holds


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lasting(None), "—"),
        (lasting(0.0123), "12 ms"),
        (lasting(-1), "0 ms"),
        (lasting(9.94), "9.9 s"),
        (lasting(61), "1 min 1 s"),
        (lasting(7260), "2 h 1 min"),
        (lasting(90_000), "1 d 1 h"),
        (dollars(None), "unknown"),
        (dollars(0.00123), "$0.0012"),
        (dollars(1234.5), "$1,234.50"),
        (cost(None), "—"),
        (tokens({"input_tokens": 1200}), "1,200 → 0"),
        (str(badge("a b<")), '<span class="badge s-other">a b&lt;</span>'),
    ],
)
def test_words(made: str, words: str) -> None:
    assert made == words
