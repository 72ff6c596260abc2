"""A run with all that is told of it, as lines for people."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from celery_agents.client.overview.tables import clock, cut, dollars, lasting
from celery_agents.contracts.outcome import State
from celery_agents.visible import visible

#: Members of one step that are shown to people; ``--json`` has more.
MEMBERS_SHOWN = 20
#: Events and calls of a run that are shown to people, the last ones.
EVENTS_SHOWN = 30
#: Members in these states are shown first: they are what somebody looks for.
_FIRST = {
    state: place
    for place, state in enumerate((State.FAILED, State.DEAD, State.RUNNING, State.WAITING))
}


def run_lines(run: dict[str, Any], *, within: int) -> list[str]:
    """A run's head, its tree, votes, tool calls, answers and events; no line is longer."""
    lines = [
        *_head(run),
        *_tree(run),
        *_votes(run),
        *_calls(run),
        *_answers(run),
        *_events(run),
    ]
    return [cut(visible(line), within) for line in lines]


def _head(run: dict[str, Any]) -> Iterator[str]:
    yield f"{run['id']}  {run['task']}  {run['state']}"
    usage = run["usage"]
    end = run["finished_at"]
    took = "" if end is None else f"  took {lasting(end - run['created_at'])}"
    tenant = f"  tenant {run['tenant']}" if run["tenant"] else ""
    cost = "" if usage is None else f"  {dollars(usage.get('cost_usd', 0.0))}"
    tokens = _tokens(usage or {})
    yield f"began {clock(run['created_at'])}{took}{tenant}{cost}{tokens}".rstrip()


def _tokens(usage: dict[str, Any]) -> str:
    read, written = usage.get("input_tokens", 0), usage.get("output_tokens", 0)
    return f"  {read:,} tokens read, {written:,} written" if read or written else ""


def _tree(run: dict[str, Any]) -> Iterator[str]:
    below: dict[str | None, list[dict[str, Any]]] = {}
    known = {step["id"] for step in run["steps"]}
    for step in run["steps"]:
        parent = step["parent_id"] if step["parent_id"] in known else None
        below.setdefault(parent, []).append(step)
    progress = {told["step_id"]: told for told in run["progress"]}
    for root in below.get(None, []):
        yield from _branch(root, below, progress, "")
    if run["steps_left_out"]:
        yield f"… and {run['steps_left_out']:,} more steps"


def _branch(
    step: dict[str, Any],
    below: dict[str | None, list[dict[str, Any]]],
    progress: dict[str, dict[str, Any]],
    indent: str,
) -> Iterator[str]:
    yield f"{indent}{_step(step)}"
    for reason in filter(None, [step["why"], _error(step)]):
        yield f"{indent}    {reason}"
    members = below.get(step["id"], [])
    if (told := progress.get(step["id"])) is not None and told["total"] > MEMBERS_SHOWN:
        yield f"{indent}    {progress_line(told)}"
        members = sorted(members, key=lambda m: _FIRST.get(m["state"], len(_FIRST)))
    for member in members[:MEMBERS_SHOWN]:
        yield from _branch(member, below, progress, indent + "  ")
    if len(members) > MEMBERS_SHOWN:
        yield f"{indent}  … and {len(members) - MEMBERS_SHOWN:,} of those that were read"


def _step(step: dict[str, Any]) -> str:
    name = step["agent"] or step["task"]
    member = f" [{step['member']}]" if step["member"] and step["member"] != step["agent"] else ""
    took = ""
    if step["finished_at"] and step["started_at"]:
        took = f"{step['finished_at'] - step['started_at']:.2f} s"
    tries = f"x{step['attempts']}" if step["attempts"] > 1 else ""
    cost = dollars((step["usage"] or {}).get("cost_usd", 0.0))
    parts = (f"{name}{member}", step["state"], tries, took, cost, step["id"])
    return "  ".join(filter(None, parts))


def _error(step: dict[str, Any]) -> str | None:
    error = step["error"]
    return error and f"{error['kind']}: {error['message']}"


def progress_line(told: dict[str, Any]) -> str:
    """Return how far a step is with its members, in one line."""
    share = told["done"] / told["total"] if told["total"] else 1.0
    parts = [f"{told['done']:,} of {told['total']:,} ended ({share:.0%})"]
    parts += [f"{told[name]:,} {name}" for name in ("failed", "skipped", "running") if told[name]]
    if told["done"] < told["total"]:
        parts.append(f"{told['rate']:,.1f}/s")
        parts += [] if told["left_s"] is None else [f"{lasting(told['left_s'])} left"]
    return ", ".join(parts)


def _votes(run: dict[str, Any]) -> Iterator[str]:
    for step_id, vote in run["votes"].items():
        said = "no decision" if vote.get("option") is None else repr(vote["option"])
        yield f"vote {step_id}: {said} by {vote.get('decided_by')}, {vote.get('rule')}"
        saved = vote.get("samples_saved", 0)
        yield (
            f"  consensus {vote.get('consensus', 0.0):.2f}, stopped by {vote.get('stopped_by')}, "
            f"{vote.get('samples_used', 0)} asked, {saved} saved "
            f"{dollars(vote.get('saved_cost_usd') or 0.0)}".rstrip()
        )
        for ballot in vote.get("ballots", []):
            voice = ballot.get("option") or ballot.get("ranking") or ballot.get("approvals")
            voice = f"abstained ({ballot['abstained']})" if ballot.get("abstained") else voice
            reason = f"  {ballot['reason']}" if ballot.get("reason") else ""
            yield f"  {ballot['voter']}: {voice}{reason}"


def _calls(run: dict[str, Any]) -> Iterator[str]:
    tools = [call for call in run["calls"] if call["name"].startswith("tool:")]
    if tools:
        yield "tool calls"
    for call in tools[-EVENTS_SHOWN:]:
        took = "under way"
        if call["finished_at"] is not None:
            took = f"{call['finished_at'] - call['started_at']:.2f} s"
        error = f"  {call['error']['kind']}: {call['error']['message']}" if call["error"] else ""
        name = call["name"].removeprefix("tool:")
        yield f"  {name}  {took}  {dollars(call['cost_usd'] or 0.0)}  {call['step_id']}{error}"


def _answers(run: dict[str, Any]) -> Iterator[str]:
    for step_id, value in run.get("answers", {}).items():
        said = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        yield f"answer {step_id}: {said}"


def _events(run: dict[str, Any]) -> Iterator[str]:
    if run["events"]:
        yield "events"
    for event in run["events"][-EVENTS_SHOWN:]:
        data = "" if not event["data"] else json.dumps(event["data"], ensure_ascii=False)
        yield f"  {clock(event['at'])}  {event['kind']}  {event['step_id'][:8]}  {data}".rstrip()
