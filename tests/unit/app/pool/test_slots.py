from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest
from celery.concurrency import get_implementation

from app.pool.slots import keep_worker, slots_of


@pytest.mark.parametrize(("pool", "slots"), [("threads", 7), ("app.pool:CoroutinePool", 7)])
def test_a_process_has_as_many_as_its_concurrency(pool: str, slots: int) -> None:
    app: Any = SimpleNamespace()
    assert slots_of(app) is None
    worker = SimpleNamespace(app=app, pool_cls=get_implementation(pool), concurrency="auto")
    keep_worker(worker)
    assert slots_of(app) is None
    worker.concurrency = slots  # as Celery settles it afterwards
    assert slots_of(app) == slots


def test_a_child_of_prefork_has_one_and_its_parent_none(monkeypatch: pytest.MonkeyPatch) -> None:
    app: Any = SimpleNamespace()
    keep_worker(SimpleNamespace(app=app, pool_cls=get_implementation("prefork"), concurrency=4))
    assert slots_of(app) == 0
    parent = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: parent + 1)
    assert slots_of(app) == 1
