"""What ``Client.publish`` makes of signatures, beside what Celery makes of them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from celery import Signature, chain, chord, current_task, group, signals

from celery_agents import names
from celery_agents.client.client import Client
from celery_agents.wire.canvas import message_of

Make = Callable[[Client], Signature]


def sent(store: redis.Redis) -> list[dict[str, Any]]:
    """The queued messages, without what differs from one publishing to the next."""
    key = "agents\x06\x165"
    found = [json.loads(raw) for raw in reversed(store.lrange(key, 0, -1))]
    store.delete(key)
    for message in found:
        del message["properties"]["delivery_tag"]
        if message["properties"].pop("body_encoding", None):  # of kombu's own way
            message["body"] = base64.b64decode(message["body"]).decode()
        message["body"] = json.loads(message["body"])
        message["body"][2]["chain"] = message["body"][2]["chain"] or []
        headers = {k: v for k, v in message["headers"].items() if v is not None}
        message["headers"] = {**headers, "ignore_result": False}
        for option in ("argsrepr", "kwargsrepr", "serializer", "task_id"):  # its options leak
            message["properties"].pop(option, None)
    return found


PLAIN: dict[str, Make] = {
    "a step": lambda c: c.ask.s("a", {"x": "ü"}),
    "a step with an id": lambda c: c.ask.s("a", 1, id="5"),
    "a chain": lambda c: chain(c.ask.s("a", 1), c.ask.s("b"), c.ask.s("c", priority=5)),
    "a chain by |": lambda c: c.ask.s("a", 1) | c.ask.s("b"),
    "of one": lambda c: chain(c.ask.s("a", 1)),
    "a chain in a chain": lambda c: chain(c.ask.s("a", 1), chain([c.ask.s("b"), c.ask.s("c")])),
    "with an id": lambda c: chain(c.ask.s("a", 1), c.ask.s("b")).set(task_id="end"),
    "of patterns": lambda c: chain(c.ask.s("a", 1), c.vote.s(["b", "c"], stop="none")),
    "immutable": lambda c: chain(c.ask.s("a", 1), c.ask.s("b", 2).set(immutable=True)),
}
OTHERS: dict[str, Make] = {
    "a group": lambda c: group(c.ask.s("a", 1), c.ask.s("a", 2)),
    "a chord": lambda c: chord([c.ask.s("a", 1), c.ask.s("a", 2)], c.ask.s("b")),
    "a chain with a group": lambda c: chain(c.ask.s("a", 1), group(c.ask.s("b"), c.ask.s("c"))),
    "linked": lambda c: c.ask.s("a", 1).on_error(c.ask.s("b")),
    "an end that links": lambda c: chain(c.ask.s("a", 1), c.ask.s("b").set(link=[c.ask.s("c")])),
    "a chain that links": lambda c: chain(c.ask.s("a", 1), c.ask.s("b")).set(link=c.ask.s("c")),
    "late": lambda c: c.ask.s("a", 1).set(countdown=60),
    "another app's": lambda c: c.celery.signature("elsewhere.add", (1,)).set(queue="agents"),
}


@pytest.mark.parametrize("make", PLAIN.values(), ids=PLAIN)
def test_a_plain_canvas_is_sent_as_celery_sends_it(
    client: Client, store: redis.Redis, make: Make
) -> None:
    canvas = make(client)
    end = canvas.freeze()
    before = json.dumps(canvas)
    client.publish([canvas])
    (ours,) = sent(store)
    assert json.dumps(canvas) == before
    with client.celery.producer_or_acquire() as producer:
        canvas.apply_async(producer=producer, ignore_result=True)
    (theirs,) = sent(store)
    assert ours == theirs
    last = (ours["body"][2]["chain"] or [{"options": {"task_id": ours["headers"]["id"]}}])[0]
    assert last["options"]["task_id"] == end.id


@pytest.mark.parametrize("make", PLAIN.values(), ids=PLAIN)
def test_links_without_ids_get_some(client: Client, store: redis.Redis, make: Make) -> None:
    canvas = make(client)
    client.publish([canvas, canvas])
    links = [
        link
        for message in sent(store)
        for link in (message["headers"]["id"], *message["body"][2]["chain"])
    ]
    ids = [link if isinstance(link, str) else link["options"]["task_id"] for link in links]
    fixed = {"5", "end"} & set(ids)
    assert len(set(ids)) == len(ids) - len(fixed)


@pytest.mark.parametrize("make", OTHERS.values(), ids=OTHERS)
def test_any_other_canvas_is_celerys(client: Client, store: redis.Redis, make: Make) -> None:
    canvas = make(client)
    assert message_of(client.celery, canvas, None) is None
    client.publish([canvas])
    queued = [store.llen(key) for key in store.keys("agents*") if store.type(key) == "list"]
    assert sum(queued) == (2 if canvas.subtask_type in {"group", "chord"} else 1)


def test_the_first_are_sent_while_the_others_are_made(client: Client, store: redis.Redis) -> None:
    lengths = []

    def runs() -> Iterator[Signature]:
        for n in range(120):
            lengths.append(store.llen("agents\x06\x165"))
            yield chain(client.ask.s("a", n), client.ask.s("b"))

    client.publish(runs())
    assert [message["body"][0] for message in sent(store)] == [[n] for n in range(120)]
    assert lengths == [0] * 50 + [50] * 50 + [100] * 20


def test_signals_are_sent_for_a_canvas(client: Client) -> None:
    told: list[tuple[str, str, Any]] = []

    def after(sender: str, headers: dict[str, Any], body: Any, **_: Any) -> None:
        told.append((sender, headers["id"], body[0]))

    signals.after_task_publish.connect(after)
    try:
        client.publish([client.ask.s("a", 1, id="5"), client.ask.s("a", 2, id="6")])
    finally:
        signals.after_task_publish.disconnect(after)
    assert told == [(names.ASK, "5", [1]), (names.ASK, "6", [2])]


def test_what_is_sent_within_a_task_knows_it(client: Client, store: redis.Redis) -> None:
    @client.celery.task(name="outer of a canvas")
    def outer() -> list[str]:
        client.publish([chain(client.ask.s("a", 1), client.ask.s("b"))])
        return [child.id for child in current_task.request.children]

    children = outer.apply(task_id="me").get()
    (message,) = sent(store)
    headers = message["headers"]
    assert (headers["root_id"], headers["parent_id"], [headers["id"]]) == ("me", "me", children)
