"""Rows of messages: by whichever way a message is met, its row is the same."""

from __future__ import annotations

from typing import Any

import pytest
from celery.app.task import Context

from app.execution.submission import (
    Submission,
    as_sent,
    check_chain,
    following,
    priority_of,
    queue_of,
)
from celery_agents import names
from celery_agents.contracts.ask import Ask, StepOptions
from celery_agents.errors import PayloadTooLargeError

LINK = {"task": "shop.add", "args": []}
#: What may follow a step: as its row has it, in a message's parts, and as amqp takes it.
FOLLOWS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "nothing": ({}, {}, {}),
    "links": (
        {"link": [LINK], "link_error": [LINK]},
        {"embed": {"callbacks": [LINK], "errbacks": [LINK]}},
        {"callbacks": [LINK], "errbacks": [LINK]},
    ),
    "a chain": ({"chain": [LINK]}, {"embed": {"chain": [LINK]}}, {"chain": [LINK]}),
    "who waits": ({"reply_to": "me"}, {"properties": {"reply_to": "me"}}, {"reply_to": "me"}),
}
#: These go Celery's own way, never as what follows a step of ours.
OF_GROUPS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "a place in a group": (
        {"group_id": "g", "group_index": 0},
        {"headers": {"group": "g", "group_index": 0}},
        {"group_id": "g", "group_index": 0},
    ),
    "a chord": ({"chord": LINK}, {"embed": {"chord": LINK}}, {"chord": LINK}),
}


def received(parts: dict[str, Any]) -> Submission:
    told = {k: v for part in parts.values() for k, v in part.items()}
    info = {"routing_key": "q", "priority": 3}
    request = Context({"id": "s", "delivery_info": info, **told})
    return Submission.received(names.ASK, request, ("x",), {"agent": "a"})


def recorded(parts: dict[str, Any]) -> Submission:
    headers = {"id": "s", "task": names.ASK, **parts.get("headers", {})}
    properties = {"delivery_info": {"routing_key": "q"}, "priority": 3}
    return Submission.recorded(
        {
            "headers": headers,
            "properties": {**properties, **parts.get("properties", {})},
            "embed": parts.get("embed", {}),
            "args": ["x"],
            "kwargs": {"agent": "a"},
        }
    )


@pytest.mark.parametrize(
    ("follows", "parts", "_"), [*FOLLOWS.values(), *OF_GROUPS.values()], ids=[*FOLLOWS, *OF_GROUPS]
)
def test_received_or_recorded_a_message_is_the_same_row(
    follows: dict[str, Any], parts: dict[str, Any], _: Any
) -> None:
    options = Ask(agent="a", deadline_s=9)
    row = received(parts).row(options)
    assert row == recorded(parts).row(options)
    assert (row.id, row.run_id, row.queue, row.priority, row.agent) == ("s", "s", "q", 3, "a")
    assert (row.max_attempts, row.timeout_s) == (options.retry.max_attempts, 9)
    assert row.payload == {"args": ["x"], "kwargs": {"agent": "a"}}
    assert row.envelope == (follows or None)


@pytest.mark.parametrize(("follows", "parts", "about"), FOLLOWS.values(), ids=FOLLOWS)
def test_about_to_be_sent_it_is_the_same_row(
    follows: dict[str, Any], parts: dict[str, Any], about: dict[str, Any]
) -> None:
    told = {"task_id": "s", "priority": 3, "root_id": "r", **about}
    submission = Submission.to_send(names.ASK, ("x",), {"agent": "a"}, "q", told, marks={})
    assert submission.row(Ask(agent="a")) == received(parts).row(Ask(agent="a"))


@pytest.mark.parametrize(
    ("follows", "_", "about"), [*FOLLOWS.values(), *OF_GROUPS.values()], ids=[*FOLLOWS, *OF_GROUPS]
)
def test_what_a_row_keeps_is_sent_again(
    follows: dict[str, Any], _: Any, about: dict[str, Any]
) -> None:
    assert as_sent(follows) == about


@pytest.mark.parametrize(("body_bytes", "fits"), [(None, False), (10, True), (100, False)])
def test_what_is_known_to_be_small_is_not_measured(body_bytes: int | None, fits: bool) -> None:
    submission = Submission("s", "t", ["x" * 200], {}, "q", 0, {}, body_bytes=body_bytes)
    if fits:
        submission.refuse_large(100, 100)
        return
    with pytest.raises(PayloadTooLargeError, match="the limit is 100"):
        submission.refuse_large(100, 100)


FOLLOWING = {"chain": [{"task": "t" * 300}] * 3}


@pytest.mark.parametrize(
    ("limit", "spread_limit", "refusal"),
    [(800, 10_000, "payload_limit_bytes"), (10_000, 1_000, "each link"), (10_000, 10_000, None)],
)
def test_what_follows_counts(limit: int, spread_limit: int, refusal: str | None) -> None:
    submission = received({"embed": FOLLOWING})
    if refusal is None:
        submission.refuse_large(limit, spread_limit)
        return
    with pytest.raises(PayloadTooLargeError, match=refusal):
        submission.refuse_large(limit, spread_limit)


def test_of_a_chain_that_was_taken_its_links_are_measured_alone() -> None:
    """It was counted as its first link came; their inputs are answers."""
    submission = Submission.to_send(
        names.ASK, ("x",), {}, "q", {"task_id": "s", **FOLLOWING}, marks={}
    )
    submission.refuse_large(800, 100)


def test_a_pattern_has_no_agent() -> None:
    assert received({}).row(StepOptions()).agent is None


@pytest.mark.parametrize(
    ("told", "queue"),
    [({"routing_key": "q"}, "q"), (None, names.QUEUE), ({}, names.QUEUE),
     ({"routing_key": "a\0"}, names.QUEUE), ({"routing_key": "x" * 201}, names.QUEUE),
     ({"routing_key": 7}, names.QUEUE), ({"routing_key": ""}, names.QUEUE)],
)  # fmt: skip
def test_the_queue_of_a_row(told: Any, queue: str) -> None:
    assert queue_of(told) == queue


@pytest.mark.parametrize(
    ("told", "priority"),
    [(3, 3), (0, 0), (9, 9), (10, 0), (-1, 0), (10**12, 0), ("5", 0), (5.0, 0), (True, 0)],
)
def test_the_priority_of_a_row(told: Any, priority: int) -> None:
    assert priority_of(told) == priority


KB, MB = 1024, 1024 * 1024


@pytest.mark.parametrize(
    ("links", "size", "fits"),
    [
        (3_000, 400 * KB, False),
        (2_000, 250 * KB, False),
        (400, 120 * KB, True),
        (0, 250 * KB, True),
    ],
)
def test_a_chain_that_is_stored_again_and_again(links: int, size: int, fits: bool) -> None:
    if fits:
        check_chain([{}] * links, size, 64 * MB)
    else:
        with pytest.raises(PayloadTooLargeError, match="hands on"):
            check_chain([{}] * links, size, 64 * MB)


def test_what_follows_is_what_the_message_says() -> None:
    assert following({}) == []
    told = {"chain": [1], "callbacks": [2], "errbacks": None, "chord": {"a": 3}, "id": "x"}
    assert following(told) == [[1], [2], {"a": 3}]
    check_chain(None, 10**9, 1)
