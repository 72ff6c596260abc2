from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from app.transport import Channel, _redelivered
from celery_agents import names
from celery_agents.transport import Channel as RecordingChannel


@given(st.binary(max_size=200))
def test_what_cannot_be_read_is_given_back_as_it_is(raw: bytes) -> None:
    given_back = _redelivered(raw)
    assert given_back == raw


def test_a_second_delivery_is_marked() -> None:
    message = {"headers": {"id": "1"}, "properties": {"delivery_info": {}}, "body": "é"}
    marked = json.loads(_redelivered(json.dumps(message).encode()))
    assert marked["headers"] == {"id": "1", "redelivered": True}
    assert marked["properties"]["delivery_info"]["redelivered"]
    assert marked["body"] == "é"


def test_our_keys_are_not_other_apps() -> None:
    """Their workers would give our messages back after their own visibility_timeout."""
    assert Channel.unacked_key == names.UNACKED != RecordingChannel.unacked_key
    assert Channel.unacked_index_key == names.UNACKED_TIMES != RecordingChannel.unacked_index_key
