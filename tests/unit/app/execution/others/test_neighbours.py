from __future__ import annotations

from typing import Any

import pytest

from app.execution.others.neighbours import Neighbours, complaint, left

OURS = "redis://:secret@10.0.0.5:6379/0"
WELL = {"w@1": ["shop.give", "shop.give_all [ignore_result=True]"]}


def told(conf: dict[str, Any], results: str = OURS) -> str | None:
    return complaint("shop.give", results, Neighbours(("w@1",), WELL, {"w@1": conf}))


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("redis://10.0.0.5:6379/0", OURS),
        ("redis://:********@10.0.0.5:6379/0", OURS),
        ("redis://10.0.0.5", OURS),
        ("redis://10.0.0.5/", OURS),
        ("rediss://10.0.0.5:6379/0?ssl_cert_reqs=CERT_REQUIRED", OURS),
        ("redis://a-name-of-the-same-server:6380/0", OURS),  # who knows
        ("redis://localhost:6379/3", "redis://127.0.0.1/3"),
        ("redis://[::1]:6379/3", "redis://127.0.0.1/3"),
        ("redis://h/?db=3", "redis://h/3"),
        ("celery.backends.redis:RedisBackend+redis://h/3", "redis://h/3"),
        ("db+postgresql://u:p@h/results", "db+postgresql://u:p@other/results"),
        ("redis://h:1,h:2/0", "redis://h:1/0"),
    ],
)
def test_backends_that_may_be_the_same(theirs: str, ours: str) -> None:
    assert told({"result_backend": theirs}, ours) is None
    assert told({"CELERY_RESULT_BACKEND": theirs}, ours) is None


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("redis://10.0.0.5:6379/1", OURS),
        ("redis://10.0.0.5/?db=1", OURS),
        ("redis://localhost/1", "redis://127.0.0.1:6379/0"),
        ("rpc://", OURS),
        ("rpc", OURS),
        ("disabled://", OURS),
        ("db+sqlite:///results.db", OURS),
        ("cache+memcached://127.0.0.1:11211/", OURS),
        ("redis://10.0.0.5:6379/0", "db+sqlite:///results.db"),
    ],
)
def test_backends_that_differ(theirs: str, ours: str) -> None:
    for conf in ({"result_backend": theirs}, {"CELERY_RESULT_BACKEND": theirs}):
        reason = told(conf, ours)
        assert reason is not None
        assert "result_url" in reason
        assert "secret" not in reason


@pytest.mark.parametrize(
    ("conf", "word"),
    [
        ({"result_serializer": "pickle"}, "result_serializer"),
        ({"CELERY_RESULT_SERIALIZER": "yaml"}, "result_serializer"),
        ({"result_backend_transport_options": {"global_keyprefix": "shop_"}}, "global_keyprefix"),
    ],
)
def test_results_that_are_written_otherwise(conf: dict[str, Any], word: str) -> None:
    assert word in str(told(conf))


@pytest.mark.parametrize(
    "conf",
    [{}, {"result_serializer": "json"}, {"result_backend": None}, {"result_backend": 7}],
)
def test_what_is_not_said_is_no_complaint(conf: dict[str, Any]) -> None:
    assert told(conf) is None


@pytest.mark.parametrize(
    ("registered", "word"),
    [
        ({}, None),  # nobody answered
        ({"w@1": []}, None),
        ({"w@1": ["shop.give"]}, None),
        ({"w@1": ["shop.other"], "w@2": ["shop.give"]}, None),  # one has it: as they are renewed
        ({"w@1": ["shop.give [ignore_result=False]"]}, None),
        ({"w@1": ["shop.give_all [ignore_result=True]", "shop.give"]}, None),
        ({"w@1": ["shop.give [ignore_result=True]"]}, "ignore_result"),
        ({"w@1": ["shop.give"], "w@2": ["shop.give [ignore_result=True]"]}, "ignore_result"),
        ({"w@1": ["shop.other", "shop.give_all"]}, "has the task shop.give"),
    ],
)
def test_tasks(registered: dict[str, list[str]], word: str | None) -> None:
    reason = complaint("shop.give", OURS, Neighbours(tuple(registered), registered))
    assert (reason is None) if word is None else (word in str(reason))


def test_left() -> None:
    messages = [b'[{"headers": {"id": "a"}}]', b"junk", b'{"id": "bb"}']
    assert left(["a-not", "bb", "c"], messages) == {"a-not", "c"}
    assert left(["x"], []) == {"x"}
