from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from celery.concurrency.base import BasePool
from celery.utils.log import ColorFormatter

from app.telemetry.lines import HTTP_LOGGERS, Lines, hush_http, write_lines
from tests.support.secret_shapes import SHAPES

FORGED = "[2026-11-27 08:00:00,000: INFO/MainProcess] all is well"


@pytest.fixture(params=[logging.Formatter, ColorFormatter])
def log(request: pytest.FixtureRequest) -> Iterator[tuple[logging.Logger, io.StringIO]]:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(request.param("[%(levelname)s] %(message)s"))
    logger = logging.Logger("of a test", logging.DEBUG)  # noqa: LOG001 - no other test gets it
    logger.addHandler(handler)
    write_lines(logger)
    write_lines(logger)
    yield logger, written
    handler.close()


@pytest.mark.parametrize("sign", ["\n", "\r\n", "\x1b[2K\r", "\u2028", "\x85"])
def test_no_line_is_forged(log: tuple[logging.Logger, io.StringIO], sign: str) -> None:
    logger, written = log
    logger.warning("no task %s", f"x{sign}{FORGED}")
    logger.error("It failed", exc_info=ValueError(f"y{sign}{FORGED}"))
    told = written.getvalue()
    assert told.count(FORGED) >= 2
    assert not [line for line in told.splitlines() if line.startswith("[2026")]
    assert "\x1b[2K" not in told


@pytest.mark.parametrize("shape", SHAPES[::5], ids=lambda s: s.name)
def test_secrets_are_in_no_line(log: tuple[logging.Logger, io.StringIO], shape: Any) -> None:
    logger, written = log
    logger.debug("got %s", shape.text)
    logger.error(shape.text)
    logger.error("It failed", exc_info=ValueError(shape.text), stack_info=True)
    assert shape.secret not in written.getvalue()


def test_the_record_is_left_as_it_was() -> None:
    record = logging.makeLogRecord({"msg": "got %s", "args": ("password=hunter2",)})
    assert "hunter2" not in Lines(logging.Formatter()).format(record)
    assert record.getMessage() == "got password=hunter2"


def test_ids_of_tasks_are_escaped() -> None:
    record = logging.makeLogRecord({"msg": "x", "task_id": f"a\n{FORGED}"})
    shown = Lines(logging.Formatter("%(task_id)s %(message)s")).format(record)
    assert "\n" not in shown


def test_what_a_task_was_sent_is_in_no_line(
    monkeypatch: pytest.MonkeyPatch, log: tuple[logging.Logger, io.StringIO]
) -> None:
    module = sys.modules[BasePool.__module__]
    monkeypatch.setattr(module, "logger", log[0])
    pool = BasePool(1)
    pool._does_debug = True
    monkeypatch.setattr(pool, "on_apply", lambda *_, **__: None)
    pool.apply_async(print, ("my private input",), {"x": "another"})
    told = log[1].getvalue()
    assert "TaskPool: Apply" in told
    assert "private" not in told
    assert "another" not in told


@pytest.mark.parametrize("name", HTTP_LOGGERS)
def test_http_clients_tell_no_url(name: str) -> None:
    hush_http()
    assert not logging.getLogger(name).isEnabledFor(logging.INFO)
    assert logging.getLogger(name).isEnabledFor(logging.WARNING)
