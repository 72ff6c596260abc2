from __future__ import annotations

import contextvars
import io
import json
import logging
from typing import Any

import pytest
from celery.app import trace

from app.telemetry.bound import BoundStep, bound, ends_as, lately
from app.telemetry.json_lines import JsonLines
from app.telemetry.set_up import set_up
from celery_agents.traces import TraceParent, span_of, trace_of
from tests.support.secret_shapes import SHAPES

STEP = BoundStep("run", "step", "gpt", 2)


def written(level: int = logging.INFO, *args: Any, **about: Any) -> list[dict[str, Any]]:
    """Read the lines of one record, as a program reads them."""
    stream = io.StringIO()
    logger = logging.Logger("of a test")  # noqa: LOG001 - no other test gets it
    logger.addHandler(logging.StreamHandler(stream))
    set_up(logger, "json")
    set_up(logger, "json")
    logger.log(level, *args, **about)
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def within(step: BoundStep, *args: Any) -> dict[str, Any]:
    def work() -> dict[str, Any]:
        bound.set(step)
        return written(logging.WARNING, *args)[0]

    return contextvars.copy_context().run(work)


def test_a_line_has_its_step() -> None:
    told = within(STEP, "It took %d s", 3)
    assert told["message"] == "It took 3 s"
    assert (told["level"], told["logger"]) == ("warning", "of a test")
    assert (told["run_id"], told["step_id"], told["agent"], told["attempt"]) == STEP[:4]
    assert told["trace_id"] == f"{trace_of('run'):032x}"
    assert told["span_id"] == f"{span_of('step'):016x}"
    assert "caller" not in told
    called = within(STEP._replace(caller=TraceParent(5, 6)), "It took %d s", 3)
    assert (called["trace_id"], called["span_id"]) == (f"{5:032x}", told["span_id"])
    assert bound.get() is None
    assert "run_id" not in written(logging.INFO, "of nobody")[0]


@pytest.mark.parametrize("sign", ["\n", "\r\n", "\u2028", "\x85", "\x1b[2K"])
def test_an_event_is_one_line(sign: str) -> None:
    error = ValueError(f"a{sign}b")
    (told,) = written(logging.ERROR, f"x{sign}y", exc_info=error, stack_info=True)
    assert "ValueError" in told["error"]
    assert "\x1b" not in told["message"] + told["error"]


@pytest.mark.parametrize("shape", SHAPES[::5], ids=lambda s: s.name)
def test_secrets_are_in_no_line(shape: Any) -> None:
    error = ValueError(shape.text)
    told = [
        *written(logging.INFO, "got %s", shape.text),
        *written(logging.ERROR, "It failed", exc_info=error),
        *written(logging.INFO, trace.LOG_SUCCESS, {"id": shape.text, "name": shape.text}),
    ]
    assert shape.secret not in json.dumps(told, ensure_ascii=False)


def test_celerys_own_lines_name_their_step() -> None:
    about = {"id": "s1", "name": "agents.ask", "runtime": 0.5, "return_value": "private"}
    (told,) = written(logging.INFO, "Task %(name)s[%(id)s] succeeded in %(runtime)ss", about)
    assert (told["step_id"], told["task"], told["runtime_s"]) == ("s1", "agents.ask", 0.5)
    assert "private" not in json.dumps(told)


def test_celerys_line_of_an_end_has_what_is_known_of_the_step() -> None:
    lately.put("s2", BoundStep("r2", "s2", "gpt", 3).fields())
    ends_as("s2", "failed", "timeout")
    about = {"id": "s2", "name": "agents.ask", "description": "raised expected", "exc": "Late()"}
    (told,) = written(logging.INFO, trace.LOG_FAILURE.strip(), about)
    assert (told["run_id"], told["step_id"], told["agent"], told["attempt"]) == (
        "r2",
        "s2",
        "gpt",
        3,
    )
    assert (told["state"], told["error_kind"]) == ("failed", "timeout")
    assert told["trace_id"] == f"{trace_of('r2'):032x}"
    assert told["span_id"] == f"{span_of('s2'):016x}"


def test_the_record_is_left_as_it_was() -> None:
    record = logging.makeLogRecord({"msg": "got %s", "args": ("password=hunter2",)})
    assert "hunter2" not in JsonLines().format(record)
    assert record.getMessage() == "got password=hunter2"
