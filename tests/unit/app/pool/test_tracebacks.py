from __future__ import annotations

import pickle
import traceback
from collections.abc import Iterator

import pytest
from billiard import einfo
from celery.app import trace
from celery.exceptions import Ignore

from app.pool.tracebacks import BriefInfo, _described, be_brief


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    before = einfo._Frame.__dict__["Code"], trace.ExceptionInfo
    _described.cache_clear()
    yield
    einfo._Frame.Code, trace.ExceptionInfo = before


def fails(error: Exception) -> None:
    raise error


def taken_apart(error: Exception) -> einfo.ExceptionInfo:
    try:
        fails(error)
    except type(error):
        return trace.ExceptionInfo(internal=True)
    raise AssertionError


def test_errors_are_told_as_before() -> None:
    before = taken_apart(ValueError("one"))
    be_brief()
    for _ in range(2):
        after = taken_apart(ValueError("one"))
        assert isinstance(after, BriefInfo)
        assert (after.type, after.internal) == (ValueError, True)
        assert after.traceback == before.traceback
        assert traceback.format_tb(after.tb) == traceback.format_tb(before.tb)
        there = pickle.loads(pickle.dumps(after))
        assert traceback.format_tb(there.tb) == traceback.format_tb(before.tb)
        assert (there.traceback, there.internal) == (before.traceback, True)


def test_each_function_is_described_once() -> None:
    be_brief()
    first, second = taken_apart(ValueError("one")), taken_apart(ValueError("two"))
    assert first.tb.tb_next.tb_frame.f_code.co_name == "fails"
    assert first.tb.tb_next.tb_frame.f_code is second.tb.tb_next.tb_frame.f_code
    assert second.traceback.endswith("ValueError: two\n")


def test_an_ignored_task_tells_why_and_not_where() -> None:
    be_brief()
    info = taken_apart(Ignore("waits"))
    assert (info.type, str(info.exception), info.internal) == (Ignore, "waits", True)
    assert (info.tb, str(info)) == (None, "Ignore: waits\n")
    assert "waits" in repr(info)
