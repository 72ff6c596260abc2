from __future__ import annotations

from typing import Any

from celery_agents.client.overview.trees import MEMBERS_SHOWN, progress_line, run_lines

WIDE = 200


def step(step_id: str, parent_id: str | None = None, **more: Any) -> dict[str, Any]:
    return {
        "id": step_id,
        "parent_id": parent_id,
        "member": None,
        "task": "agents.ask",
        "agent": "gpt",
        "state": "succeeded",
        "attempts": 1,
        "error": None,
        "usage": None,
        "why": None,
        "started_at": 1.0,
        "finished_at": 3.5,
        "left_out": 0,
        **more,
    }


def run(*steps: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "id": "r",
        "task": "agents.vote",
        "tenant": "",
        "state": "succeeded",
        "created_at": 1.0,
        "finished_at": 61.0,
        "compensation": None,
        "steps_left_out": 0,
        "usage": {"cost_usd": 0.5, "input_tokens": 1200},
        "progress": [],
        "events": [],
        "calls": [],
        "votes": {},
        "steps": [*steps],
        **more,
    }


def text(found: dict[str, Any], within: int = WIDE) -> str:
    return "\n".join(run_lines(found, within=within))


def test_a_tree_with_why_errors_and_cost() -> None:
    error = {"kind": "timeout", "message": "it took too long"}
    told = text(
        run(
            step("r", agent=None, task="agents.vote", usage={"cost_usd": 0.5}),
            step("a", "r", state="failed", error=error, attempts=3),
            step("b", "r", state="ready", why="it goes on in 12 s", finished_at=None),
        )
    )
    assert "r  agents.vote  succeeded\n" in told
    assert "took 1 m  $0.5000  1,200 tokens read, 0 written\n" in told
    assert "\n  gpt  failed  x3  2.50 s  a\n      timeout: it took too long\n" in told
    assert "\n  gpt  ready  b\n      it goes on in 12 s" in told


def test_of_many_members_those_that_matter_come_first() -> None:
    members = [step(f"m{n}", "r") for n in range(50)]
    members[40] = step("m40", "r", state="failed")
    progress = {"step_id": "r", "total": 20_000, "done": 10_000, "failed": 7, "running": 3}
    progress |= {"skipped": 0, "rate": 250.0, "left_s": 40.0}
    told = text(run(step("r"), *members, progress=[progress], steps_left_out=19_950))
    assert "10,000 of 20,000 ended (50%), 7 failed, 3 running, 250.0/s, 40 s left" in told
    assert told.index("m40") < told.index("m0")
    assert f"… and {50 - MEMBERS_SHOWN} of those that were read" in told
    assert "… and 19,950 more steps" in told


def test_a_vote_tells_its_ballots_and_what_it_saved() -> None:
    vote = {
        "option": "x",
        "decided_by": "rule",
        "rule": "majority",
        "consensus": 0.75,
        "stopped_by": "exact",
        "samples_used": 3,
        "samples_saved": 2,
        "saved_cost_usd": 0.25,
        "ballots": [
            {"voter": "a", "option": "x", "reason": "because"},
            {"voter": "b", "abstained": "failed"},
        ],
    }
    told = text(run(step("r"), votes={"r": vote}))
    assert "vote r: 'x' by rule, majority" in told
    assert "consensus 0.75, stopped by exact, 3 asked, 2 saved $0.2500" in told
    assert "  a: x  because\n  b: abstained (failed)" in told


def test_tool_calls_answers_and_events() -> None:
    call = {"step_id": "r", "attempt": 1, "started_at": 1.0, "finished_at": None, "cost_usd": None}
    calls = [
        {**call, "name": "model", "error": None},
        {**call, "name": "tool:pay", "error": {"kind": "timeout", "message": "late"}},
        {**call, "name": "tool:look", "finished_at": 1.5, "cost_usd": 0.25, "error": None},
    ]
    events = [{"at": 1.0, "kind": "retry", "step_id": "0123456789", "data": {"n": 1}}]
    answers = {"r": {"a": 1}, "s": "said"}
    told = text(run(step("r"), calls=calls, events=events, answers=answers))
    assert "  pay  under way  r  timeout: late" in told.replace("    ", "  ")
    assert "  look  0.50 s  $0.2500  r" in told
    assert 'answer r: {"a": 1}\nanswer s: said' in told
    assert 'retry  01234567  {"n": 1}' in told
    assert "model" not in told.partition("tool calls")[2]


def test_a_step_whose_parent_is_not_shown_stands_at_the_top() -> None:
    assert "\ngpt  succeeded  2.50 s  s" in text(run(step("r"), step("s", "gone")))


def test_lines_fit_and_steer_no_terminal() -> None:
    hostile = "\x1b]0;title\x07\n" + "x" * 500
    error = {"kind": "k", "message": hostile}
    told = run_lines(run(step("r", agent=hostile, error=error, state="failed")), within=80)
    assert max(map(len, told)) <= 80
    assert all(line.isprintable() for line in told)


def test_progress_that_is_over_has_no_rate() -> None:
    told = {"total": 2, "done": 2, "failed": 0, "skipped": 1, "running": 0, "rate": 1, "left_s": 0}
    assert progress_line(told) == "2 of 2 ended (100%), 1 skipped"
