from __future__ import annotations

import inspect
import json
import math
from typing import Any

import pytest
from celery import Celery
from celery.backends.cache import CacheBackend
from hypothesis import given, settings
from hypothesis import strategies as st

from celery_agents import errors
from celery_agents.contracts.outcome import ErrorInfo
from celery_agents.errors import (
    AgentsError,
    NoDecisionError,
    PermanentError,
    RetryableError,
    redact,
)
from tests.support.drawn import costly

CLASSES = [
    found
    for _, found in inspect.getmembers(errors, inspect.isclass)
    if issubclass(found, AgentsError)
]

# What secrets are made of. None is a word that could stand in the text around it.
word = st.text(
    "abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789", min_size=12, max_size=40
)
key = st.builds(lambda w: f"{w}+/{w[:3]}=", word)
prose = st.text(" \n.,;()-äöü漢字🤖01", max_size=30)
FORMS = [
    "password={}",
    "PASSWORD: {}",
    '{{"password": "{}"}}',
    "{{'api_key': '{}'}}",
    "api-key={}&x=1",
    "apikey={}",
    "x-api-key: {}",
    "OPENAI_API_KEY={}",
    "REDIS_PASSWORD={}",
    "client_secret={}",
    "aws_secret_access_key={}",
    '"refresh_token": "{}"',
    "access_token={}",
    "token={}",
    "secret = {}",
    "Authorization: Bearer {}",
    "authorization: Basic {}",
    "{{'Authorization': 'Bearer {}'}}",
    "bearer {}",
    'password = "two words {}"',
    "passwd={}",
    r"{{\"token\": \"{}\"}}",
]


@settings(max_examples=costly(400, part=4))
@given(form=st.sampled_from(FORMS), secret=key, before=prose, after=prose)
def test_a_secret_never_survives(form: str, secret: str, before: str, after: str) -> None:
    shown = redact(f"{before} {form.format(secret)} {after}")
    assert secret not in shown
    assert secret[:12] not in shown


@given(secret=word, user=st.sampled_from(["", "user", "a.b"]), before=prose, after=prose)
def test_the_password_of_a_url_never_survives(
    secret: str, user: str, before: str, after: str
) -> None:
    shown = redact(f"{before} rediss://{user}:{secret}@host:6379/0 {after}")
    assert secret not in shown
    assert "@host:6379/0" in shown


@given(tail=word)
def test_keys_are_known_by_their_prefix(tail: str) -> None:
    long = tail * 2
    for prefix in ("sk-", "sk-ant-", "AIza", "ghp_", "xoxb-"):
        assert long not in redact(f"Incorrect key provided: {prefix}{long}.")


@pytest.mark.parametrize(
    "text",
    [
        "no agent sketch_of_the_architecture",
        "KEY_THAT_NOBODY_SET_ANYWHERE is not set",
        "",
        "The token limit is 4096 tokens: shorten the prompt",
        "sqlite:///path/journal.db",
        "http://localhost:8080/v1/chat",
        "keyboard, skills and risk",
        "input_tokens=5, output_tokens=7",
        "12:30:45",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


def test_a_long_text_is_cut_after_it_was_searched() -> None:
    assert redact("x" * 3000) == "x" * 1999 + "…"
    shown = redact("y" * 5 + " password=" + "z" * 50, limit=20)
    assert "z" not in shown


@given(prose, st.integers(1, 50))
def test_the_limit_holds(text: str, limit: int) -> None:
    assert len(redact(text, limit=limit)) <= limit


# ---------------------------------------------------------------- classes


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_has_a_word_of_its_own_and_a_remedy(cls: type[AgentsError]) -> None:
    assert cls().message == (cls.__doc__ or "").split("\n", 1)[0]
    assert cls.retryable is issubclass(cls, RetryableError)
    assert cls is AgentsError or cls.__name__.endswith("Error")
    if cls is not AgentsError and cls.__name__ != "ResultTimeoutError":
        assert issubclass(cls, RetryableError | PermanentError)


@pytest.mark.parametrize(
    "text", ["a\0b", "\ud83d", "password=x\0y \ude00", "\0" * 5_000, "ü" * 3_000]
)
def test_what_is_told_can_be_stored_anywhere(text: str) -> None:
    told = AgentsError(text).message
    told.encode()
    assert "\0" not in told
    assert len(told) <= 2_000


@pytest.mark.parametrize(
    ("details", "told"),
    [
        (None, {}),
        ("no object", {"told": "no object"}),
        ([1], {"told": [1]}),
        ({"a": math.nan}, {"a": "nan"}),
        ({"a": {1, 2}, "b": b"x"}, {"a": [1, 2], "b": "x"}),
        ({"a": "\0\ud83d"}, {"a": "\0\ud83d"}),
        ({1: {"\ud83d": 2}}, {"1": {"\ufffd": 2}}),
    ],
)
def test_details_are_whatever_somebody_put_there(details: Any, told: dict[str, Any]) -> None:
    info = ErrorInfo.of(PermanentError("no", details))
    assert info.details == told
    assert ErrorInfo.of(info.exception()) == info.model_copy(
        update={"type": type(info.exception()).__name__}
    )


@pytest.mark.parametrize("value", ["soon", None, [], math.nan, math.inf, 10**400, object()])
def test_a_pause_that_is_none(value: object) -> None:
    assert RetryableError("", {"retry_after_s": value}).retry_after_s is None
    assert RetryableError("", {"retry_after_s": "7"}).retry_after_s == 7


def test_kinds_differ() -> None:
    assert len({c.kind for c in CLASSES}) == len(CLASSES)


@pytest.fixture(scope="module")
def backend() -> CacheBackend:
    app = Celery(set_as_current=False, broker="memory://", backend="cache+memory://")
    app.conf.result_serializer = "json"
    return app.backend


@pytest.mark.parametrize("details", [None, {"retry_after_s": 2, "errors": {"a": {"kind": "x"}}}])
@pytest.mark.parametrize("cls", CLASSES)
def test_errors_cross_the_wire_as_celery_writes_them(
    backend: CacheBackend, cls: type[AgentsError], details: dict[str, object] | None
) -> None:
    error = cls("password=hunter2 is wrong", details)
    written = json.loads(json.dumps(backend.prepare_exception(error, "json")))
    assert "hunter2" not in json.dumps(written)
    again = backend.exception_to_python(written)
    assert type(again) is cls
    assert (again.message, again.details) == (error.message, details or {})
    assert str(again) == error.message


@pytest.mark.parametrize("cls", CLASSES)
def test_errors_survive_rows(cls: type[AgentsError]) -> None:
    error = cls("no", {"a": [1]})
    info = ErrorInfo.model_validate_json(ErrorInfo.of(error).model_dump_json())
    assert (info.kind, info.retryable) == (cls.kind, cls.retryable)
    again = info.exception()
    assert (type(again), again.message, again.details) == (cls, "no", {"a": [1]})


@pytest.mark.parametrize(
    ("retryable", "expected"), [(True, RetryableError), (False, errors.AgentFailedError)]
)
def test_an_error_of_a_newer_version_keeps_its_branch(
    retryable: bool, expected: type[AgentsError]
) -> None:
    info = ErrorInfo(kind="new", message="no", type="NewerError", retryable=retryable)
    assert type(info.exception()) is expected
    odd = ErrorInfo(kind="new", message="no", type="re", retryable=retryable)
    assert type(odd.exception()) is expected


def test_an_error_of_someone_elses_is_described_and_redacted() -> None:
    info = ErrorInfo.of(ValueError("password=hunter2"))
    assert (info.kind, info.retryable) == ("agent_failed", False)
    assert info.message == "ValueError: password=***"


def test_what_logs_show_of_an_error_has_no_details() -> None:
    error = NoDecisionError("No decision.", {"decision": {"ballots": ["my secret vote"]}})
    assert repr(error) == "NoDecisionError('No decision.')"
    assert error.details["decision"] == {"ballots": ["my secret vote"]}
