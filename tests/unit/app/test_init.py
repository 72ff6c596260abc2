from __future__ import annotations

import gc

import pytest

import app


def test_no_garbage_is_collected_while_the_service_is_imported_and_its_app_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    while_made: list[bool] = []
    monkeypatch.setitem(vars(app), "celery", None)  # of the test alone
    monkeypatch.setattr("app.factory.create_app", lambda _: while_made.append(gc.isenabled()))
    assert gc.isenabled()
    app.__getattr__("celery")
    assert while_made == [False]
    assert gc.isenabled()
