"""Spans of a run, of rows as the journal has them."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

from app.journal.queries.traced import TracedRun
from app.watching.spans import SpanRow, spans_of
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State, Usage
from celery_agents.errors import ProviderUnavailableError
from celery_agents.traces import TraceParent, span_of, span_of_call, trace_of

CALLER = TraceParent(7, 9)
DOWN = ErrorInfo.of(ProviderUnavailableError("down"))


def row(step_id: str, begun: float | None, ended: float, **more: Any) -> Any:
    outcome = more.pop("outcome", Outcome(state=more.get("state", State.SUCCEEDED)))
    text = json.dumps(outcome.compact(), separators=(",", ":"))
    given = {
        "id": step_id,
        "parent_id": None,
        "member": None,
        "task": "agents.ask",
        "agent": "a",
        "state": outcome.state,
        "attempts": 1,
        "tenant": "",
        "created_at": 1.0,
        "started_at": begun,
        "finished_at": ended,
        "head": text,
        "asked": None,
        "payload": None,
        "failure": None if outcome.ok else text,
        "outcome": None,
    }
    return SimpleNamespace(**{**given, **more})


def call(step_id: str, seq: int, begun: float, ended: float | None, **more: Any) -> Any:
    given = {"step_id": step_id, "seq": seq, "token": 1, "name": "http", "cost_usd": None}
    given |= {"started_at": begun, "finished_at": ended, "error": None, "answer": None}
    return SimpleNamespace(**{**given, **more})


def by_id(run: TracedRun) -> dict[int, SpanRow]:
    spans = spans_of(run)
    assert spans[0].span_id == span_of(run.id)
    found = {span.span_id: span for span in spans}
    assert len(found) == len(spans)
    return found


def test_a_tree_has_the_times_of_its_rows() -> None:
    member = row("m", 3.0, 4.0, parent_id="r", member="first", tenant="acme")
    root = row("r", 2.0, 5.0, task="agents.vote", agent=None)
    found = by_id(TracedRun("r", CALLER, [member, root]))
    above, below = found[span_of("r")], found[span_of("m")]
    assert (above.trace_id, above.parent) == (7, CALLER)
    assert below.parent == TraceParent(7, above.span_id)
    assert (above.start_s, above.end_s, below.start_s, below.end_s) == (2.0, 5.0, 3.0, 4.0)
    assert (above.name, below.name) == ("invoke_workflow vote", "invoke_agent a")
    assert below.attributes["agents.queue_s"] == 2.0
    assert below.attributes["agents.tenant"] == "acme"
    assert below.attributes["agents.member"] == "first"


def test_a_session_is_the_conversation_of_its_run_and_of_its_models() -> None:
    asked = [call("r", n, 2.0, 3.0, name=name) for n, name in enumerate(("model:p/m", "http"))]
    run = TracedRun(
        "r",
        None,
        [row("r", 2.0, 5.0, asked='{"kwargs": {"session": "ada/7"}}')],
        calls={"r": asked},
    )
    told = [span.attributes.get("gen_ai.conversation.id") for span in spans_of(run)]
    assert told == ["ada/7", "ada/7", None]
    (alone,) = spans_of(TracedRun("r", None, [row("r", 2.0, 5.0)]))
    assert "gen_ai.conversation.id" not in alone.attributes


def test_alone_a_run_has_a_trace_of_its_own() -> None:
    (only,) = spans_of(TracedRun("r", None, [row("r", 2.0, 5.0)]))
    assert (only.trace_id, only.parent, only.error) == (trace_of("r"), None, None)


def test_what_never_began_takes_no_time_but_a_person_does() -> None:
    skipped = row("s", None, 4.0, parent_id="r", outcome=Outcome(state=State.SKIPPED))
    asked = row("p", None, 4.5, parent_id="r", task="agents.approval", agent=None, created_at=3.0)
    found = by_id(TracedRun("r", None, [row("r", 2.0, 5.0), skipped, asked]))
    assert (found[span_of("s")].start_s, found[span_of("s")].end_s) == (4.0, 4.0)
    assert found[span_of("s")].attributes["agents.state"] == "skipped"
    assert found[span_of("s")].error is None
    assert (found[span_of("p")].start_s, found[span_of("p")].end_s) == (3.0, 4.5)


def test_failures_have_their_kind_and_their_message() -> None:
    bad = Outcome(state=State.FAILED, error=DOWN, usage=Usage(calls=1, input_tokens=3))
    dead = Outcome(state=State.DEAD)
    rows = [row("r", 2.0, 5.0, outcome=bad), row("d", 2.0, 3.0, parent_id="r", outcome=dead)]
    found = by_id(TracedRun("r", None, rows))
    assert found[span_of("r")].error == "down"
    assert found[span_of("r")].attributes["error.type"] == DOWN.kind
    assert found[span_of("r")].attributes["gen_ai.usage.input_tokens"] == 3
    assert found[span_of("d")].error == "dead"


def test_what_goes_on_behind_its_parents_end_is_cut_there() -> None:
    late = row("m", 3.0, 5.25, parent_id="r", outcome=Outcome(state=State.CANCELLED))
    early = row("e", 1.999, 4.0, parent_id="r")
    found = by_id(TracedRun("r", None, [row("r", 2.0, 5.0), late, early]))
    assert found[span_of("m")].end_s == 5.0
    assert found[span_of("m")].attributes["agents.overrun_s"] == 0.25
    assert found[span_of("e")].start_s == 2.0
    assert "agents.overrun_s" not in found[span_of("e")].attributes


def test_what_undoes_a_run_stands_beside_it() -> None:
    undo = row("c", 6.0, 7.0, task="agents.compensate", agent=None)
    undone = row("u", 6.2, 6.4, parent_id="c")
    found = by_id(TracedRun("r", CALLER, [row("r", 2.0, 5.0), undo, undone]))
    assert found[span_of("c")].parent == CALLER
    assert found[span_of("c")].follows == TraceParent(7, span_of("r"))
    assert found[span_of("u")].parent == TraceParent(7, span_of("c"))
    assert found[span_of("r")].follows is None


def test_nothing_is_an_orphan_whose_parent_is_gone() -> None:
    found = by_id(TracedRun("r", None, [row("r", 2.0, 5.0), row("m", 3.0, 4.0, parent_id="gone")]))
    assert found[span_of("m")].parent is None


def test_calls_stand_below_their_step() -> None:
    answer = {
        "value": {"text": "yes", "stop": "length"},
        "usage": {"calls": 1, "input_tokens": 5, "output_tokens": 2, "cached_tokens": 1},
    }
    calls = [
        call("r", 0, 2.5, 3.0, name="model:openai/gpt-5", answer=json.dumps(answer), cost_usd=0.1),
        call("r", 1, 3.0, 3.5, error=DOWN.compact()),
        call("r", 2, 4.0, None, token=2),
    ]
    run = TracedRun("r", None, [row("r", 2.0, 5.0)], {"r": calls})
    found = by_id(run)
    chat, failed, cut = (found[span_of_call("r", c.token, c.seq)] for c in calls)
    assert {s.parent for s in (chat, failed, cut)} == {TraceParent(trace_of("r"), span_of("r"))}
    assert (chat.name, chat.kind, chat.error) == ("chat gpt-5", "CLIENT", None)
    about = chat.attributes
    assert about["gen_ai.response.finish_reasons"] == ("length",)
    assert about["gen_ai.usage.cache_read.input_tokens"] == 1
    assert (about["agents.cost_usd"], about["agents.attempt"]) == (0.1, 1)
    assert failed.attributes["error.type"] == DOWN.kind
    assert (cut.end_s, cut.attributes["error.type"]) == (5.0, "interrupted")
    assert cut.error
