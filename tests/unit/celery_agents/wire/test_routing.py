from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery, Signature, chain, chord, current_app, group, signature

from celery_agents import Client
from celery_agents.wire.routing import name_queues


@pytest.fixture
def shop() -> Iterator[Celery]:
    """Another app, as its own processes have it."""
    before = current_app._get_current_object()
    app = Celery("shop", broker="memory://", backend="cache+memory://")
    app.conf.update(
        task_default_queue="shop", task_routes={"shop.routed*": {"queue": "shop.special"}}
    )
    for name, more in {"give": {}, "routed": {}, "own": {"queue": "shop.own"}}.items():
        app.task(_given, name=f"shop.{name}", shared=False, **more)
    app.finalize()
    yield app
    before.set_default()


@pytest.fixture
def client() -> Iterator[Client]:
    # Nobody is there.
    with Client("redis://127.0.0.1:1/0", result_url="cache+memory://") as made:
        yield made


def _given(x: Any = None) -> Any:
    return x


def queues(thing: Any) -> list[str | None]:
    """The queues of shop tasks, wherever they stand in a signature."""
    if isinstance(thing, list | tuple):
        return [q for one in thing for q in queues(one)]
    if not isinstance(thing, dict):
        return []
    below = [q for value in thing.values() for q in queues(value)]
    if str(thing.get("task", "")).startswith("shop."):
        return [thing["options"].get("queue"), *below]
    return below


def give(app: Celery, name: str = "give") -> Signature:
    return app.tasks[f"shop.{name}"].s()


def _linked(client: Client, shop: Celery) -> Signature:
    step = client.ask.s("a", 1)
    step.link(give(shop))
    step.link_error(give(shop, "routed"))
    return step


CANVASES: dict[str, tuple[Callable[[Client, Celery], Any], list[str | None]]] = {
    "a task": (lambda _, s: give(s), ["shop"]),
    "a route": (lambda _, s: give(s, "routed"), ["shop.special"]),
    "the task's own queue": (lambda _, s: give(s, "own"), ["shop.own"]),
    "a queue that was named": (lambda _, s: give(s).set(queue="mine"), ["mine"]),
    "a chain": (lambda c, s: chain(c.ask.s("a", 1), give(s), give(s)), ["shop", "shop"]),
    "a chain in a group": (lambda c, s: group(chain(c.ask.s("a", 1), give(s))), ["shop"]),
    "a chord": (lambda c, s: chord([c.ask.s("a", 1), give(s)], give(s)), ["shop", "shop"]),
    "links": (_linked, ["shop", "shop.special"]),
    "by its name": (lambda c, _: chain(c.ask.s("a", 1), signature("shop.give")), ["shop"]),
    "a name that nobody knows": (lambda *_: signature("shop.nothing"), [None]),
}


@pytest.mark.parametrize("name", CANVASES)
def test_tasks_go_where_their_own_app_sends_them(client: Client, shop: Celery, name: str) -> None:
    make, expected = CANVASES[name]
    canvas = make(client, shop)
    name_queues(canvas, client.celery)
    assert sorted(map(str, queues(canvas))) == sorted(map(str, expected))


def test_the_sender_knows_nothing_of_others_tasks(client: Client) -> None:
    client.celery.set_current()
    thing = signature("shop.give", app=client.celery)
    name_queues(thing, client.celery)
    assert queues(thing) == [None]


@pytest.mark.parametrize("by", ["chain", "link", "chord"])
def test_a_step_says_it_of_what_follows_it(
    client: Client, shop: Celery, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where Celery itself sends the canvas."""
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(client.celery, "send_task", lambda *_, **options: sent.append(options))
    step = client.ask.s("a", 1)
    match by:
        case "chain":
            chain(step, give(shop), give(shop, "own")).apply_async()
        case "link":
            step.link(give(shop))
            step.apply_async()
        case "chord":
            chord([step, step], give(shop)).apply_async()
    expected = {"chain": ["shop.own", "shop"], "link": ["shop"], "chord": ["shop"]}[by]
    assert queues(sent[0].get(by)) == expected
