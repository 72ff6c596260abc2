from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu import serialization
from kombu.utils import json as kombus

from app.messaging.json_codec import loads, register_json
from celery_agents.values import NotJson

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(JSON)
def test_reads_what_kombu_writes(value: Any) -> None:
    text = kombus.dumps(value)
    assert loads(text) == kombus.loads(text)


@pytest.mark.parametrize(
    "value",
    [datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), uuid.uuid4(), Decimal("1.10"), {"a": [Decimal(1)]}],
)
def test_types_of_kombu(value: Any) -> None:
    assert loads(kombus.dumps(value)) == value


@pytest.mark.parametrize("kind", [str, str.encode, lambda t: bytearray(t.encode()),
                                  lambda t: memoryview(t.encode())])  # fmt: skip
def test_every_kind_of_text(kind: Any) -> None:
    assert loads(kind('{"é": 1}')) == {"é": 1}


@pytest.mark.parametrize("text", ["", "{", "nope", b"\xff"])
def test_no_json_is_an_error_of_values(text: Any) -> None:
    """What the consumer makes a dead letter of."""
    with pytest.raises(ValueError):  # noqa: PT011 - any of them
        loads(text)


def test_kombu_uses_it() -> None:
    register_json()
    kind, encoding, text = serialization.dumps({"a": 1}, serializer="json")
    assert (kind, encoding, json.loads(text)) == ("application/json", "utf-8", {"a": 1})
    assert serialization.loads(text, kind, encoding, accept=["application/json"]) == {"a": 1}


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('{"__type__": "Query", "__value__": 1}', "an object"),
        ('{"__type__": ["x"], "__value__": 1}', "an object"),
        ('{"__type__": null, "__value__": null}', "an object"),
        ('{"__type__": "datetime", "__value__": "soon"}', "an object"),
        ('{"__type__": "uuid", "__value__": {"hex": "1", "odd": 2}}', "an object"),
        ('{"__type__": "base64", "__value__": 7}', "an object"),
        ("NaN", "NaN"),
        ("-Infinity", "an infinity"),
    ],
)
def test_what_kombu_cannot_read_is_told_where_it_stands(text: str, what: str) -> None:
    """It is the payload's contract that refuses it: then the caller hears of it."""
    (found,) = loads(f"[{text}]")
    assert isinstance(found, NotJson)
    assert found.what.startswith(what)
    again = kombus.dumps([found])
    assert json.dumps(json.loads(again)) == json.dumps(json.loads(f"[{text}]"))


def test_a_type_of_kombu_is_seen_in_whatever_way_its_key_is_written() -> None:
    """Messages that hold none are read without a look at each object."""
    written = '{"a": {"__type__": "datetime", "__value__": "2026-01-02T03:04:05+00:00"}}'
    escaped = written.replace("__type__", "\\u005f\\u005fty\\u0070e__")
    assert escaped != written
    assert loads(escaped) == loads(written) == {"a": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)}
