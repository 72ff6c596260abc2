from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from celery.app import trace
from celery.worker import strategy

from app.telemetry import logs
from app.telemetry.logs import Discreet, ReceivedLines, be_discreet, tell_begins
from app.telemetry.newest import Newest

KEY = "sk-live-" + "0123456789abcdef0123456789"
ABOUT = {"id": "s", "name": "agents.ask"}


@pytest.fixture(autouse=True)
def _discreet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(logs, "returned", Newest(10))  # what others sent back hides no line here
    be_discreet()
    be_discreet()  # once is enough
    yield
    for module in (trace, strategy):
        found = [f for f in module.logger.filters if isinstance(f, Discreet)]
        assert len(found) == 1
        module.logger.removeFilter(found[0])


@pytest.mark.parametrize("answer", ["'Paris'", f"'{KEY}'", "{'option': 'yes'}", "7"])
def test_answers_are_not_logged(caplog: pytest.LogCaptureFixture, answer: str) -> None:
    context = {**ABOUT, "return_value": answer, "runtime": 0.5, "args": answer, "kwargs": answer}
    with caplog.at_level(logging.INFO):
        trace.info(trace.LOG_SUCCESS, context)
    (record,) = caplog.records
    assert record.getMessage() == "Task agents.ask[s] succeeded in 0.5s"
    shown = json.dumps([record.getMessage(), record.args, record.data])  # type: ignore[attr-defined]
    assert answer not in shown
    assert "return_value" not in shown
    assert context["return_value"] == answer  # Celery's own is left as it is


@pytest.mark.parametrize(
    ("logger", "text", "told"),
    [
        (strategy.logger, "Task %(name)s[%(id)s] received", {"args": f"('{KEY}',)"}),
        (trace.logger, "Task %(name)s[%(id)s] retry: %(exc)s", {"exc": f"Late({KEY})"}),
        (trace.logger, "Task %(name)s[%(id)s] %(description)s: %(exc)s",
         {"exc": f"E('password={KEY}')", "description": "raised", "traceback": f"…{KEY}"}),
    ],
)  # fmt: skip
def test_secrets_are_not_logged(
    caplog: pytest.LogCaptureFixture, logger: Any, text: str, told: dict[str, str]
) -> None:
    context = {**ABOUT, **told}
    with caplog.at_level(logging.INFO):
        logger.info(text, context, extra={"data": context})
    (record,) = caplog.records
    assert record.getMessage().startswith("Task agents.ask[s]")
    assert KEY not in json.dumps(vars(record), default=str)


def test_secrets_of_a_traceback_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ValueError, match="nobody") as caught:
        raise ValueError(f"nobody knows {KEY}")
    error = caught.value
    with caplog.at_level(logging.INFO):
        trace.logger.error("It failed", exc_info=(type(error), error, error.__traceback__))
    assert "nobody knows ***" in caplog.text
    assert KEY not in caplog.text


def test_lines_of_others_stay_as_they_are(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        trace.logger.info("a %s b %d", "x", 7)
        logging.getLogger("else").info("%(a)s", {"a": KEY})
    assert caplog.messages == ["a x b 7", KEY]
    assert sys.exc_info() == (None, None, None)


@pytest.mark.parametrize("text", [trace.LOG_RECEIVED, trace.LOG_REJECTED])
@pytest.mark.parametrize(("message_id", "told"), [("goes back", False), ("another", True)])
def test_a_message_that_went_back_is_told_of_once(
    caplog: pytest.LogCaptureFixture,
    text: str,
    message_id: str,
    *,
    told: bool,
) -> None:
    logs.returned.put("goes back", None)
    context = {**ABOUT, "id": message_id, "exc": "Reject('away', True)"}
    with caplog.at_level(logging.INFO):
        trace.logger.info(text, context)
        strategy.logger.info(trace.LOG_SUCCESS, {**context, "runtime": 0.5})  # its end is told
    assert len(caplog.records) == 1 + told


@pytest.mark.parametrize(("name", "told"), [("agents.ask", False), ("shop.mail", True)])
def test_that_a_message_has_come_is_told_of_others_alone(
    caplog: pytest.LogCaptureFixture, name: str, *, told: bool
) -> None:
    tell_begins()
    tell_begins()  # once is enough
    (begun,) = [f for f in strategy.logger.filters if isinstance(f, ReceivedLines)]
    try:
        with caplog.at_level(logging.INFO):
            strategy.logger.info(trace.LOG_RECEIVED, {**ABOUT, "name": name})
            assert len(caplog.records) == told
        with caplog.at_level(logging.DEBUG):
            strategy.logger.info(trace.LOG_RECEIVED, {**ABOUT, "name": name})
        assert len(caplog.records) == told + 1
    finally:
        strategy.logger.removeFilter(begun)
