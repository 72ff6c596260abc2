"""Sealed values: read where they belong by whoever has the key, and by nobody else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celery_agents.contracts.conversation import ChatMessage
from celery_agents.contracts.outcome import Outcome, State
from celery_agents.errors import ConfigurationError, UnreadableValueError
from celery_agents.sealing import (
    CANVAS,
    CLEAR,
    KEYS,
    KEYS_FILE,
    MARK,
    PAYLOAD,
    RESULT,
    VALUE,
    Seals,
    is_sealed,
    key_id,
    opened,
    opened_outcome,
    opened_payload,
    read_keys,
    sealed_outcome,
    sealed_value,
    seals_of,
    shown,
    shown_outcome,
    shown_value,
)
from celery_agents.wire.messages import Draft
from celery_agents.wire.results import opened_result
from tests.support.drawn import costly
from tests.support.fernet import fernet_key

OLD, NEW, OTHER = fernet_key("old"), fernet_key("new"), fernet_key("other")
SEALS, OTHERS = Seals([OLD]), Seals([OTHER])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
PLACES = st.text(max_size=10)


@given(JSON, PLACES, st.sampled_from([PAYLOAD, VALUE]))
def test_a_value_is_the_same_behind_its_key(value: Any, place: str, field: str) -> None:
    sealed = json.loads(json.dumps(SEALS.seal(value, place, field)))
    assert is_sealed(sealed)
    assert SEALS.open(sealed, place, field) == value
    assert Seals([NEW, OLD]).open(sealed, place, field) == value


def test_half_of_a_character_is_a_value_too() -> None:
    assert SEALS.open(SEALS.seal("\ud800", "s", VALUE), "s", VALUE) == "\ud800"
    assert len(SEALS.mark("\ud800")) == 32


@given(JSON, PLACES, PLACES, st.sampled_from([PAYLOAD, VALUE]), st.sampled_from([PAYLOAD, VALUE]))
def test_a_value_that_was_moved_is_not_read(
    value: Any, place: str, elsewhere: str, field: str, other: str
) -> None:
    sealed = SEALS.seal(value, place, field)
    if (place, field) == (elsewhere, other):
        return
    with pytest.raises(UnreadableValueError, match="moved"):
        SEALS.open(sealed, elsewhere, other)


@given(st.integers(0, 119), st.sampled_from("AZaz09-_"))
def test_a_value_that_was_changed_is_not_read(at: int, letter: str) -> None:
    sealed = SEALS.seal("a text", "s", VALUE)[MARK]
    at += 9  # behind the id of its key
    changed = sealed[:at] + letter + sealed[at + 1 :]
    if changed == sealed:
        return
    with pytest.raises(UnreadableValueError):
        SEALS.open({MARK: changed}, "s", VALUE)


def test_a_key_that_is_missing_is_named_by_its_id_alone() -> None:
    sealed = SEALS.seal("a text", "s", VALUE)
    for seals in (OTHERS, None):
        with pytest.raises(UnreadableValueError, match=f"{key_id(OLD)}.*{KEYS}") as told:
            opened(seals, sealed, "s", VALUE)
        assert OLD not in str(told.value)


@pytest.mark.parametrize(
    "value",
    [
        *(None, 1, "text", {MARK: 1}, {MARK: "x", "more": 1}, [MARK]),
        *({MARK: ""}, {MARK: ":"}, {MARK: "a text"}, {MARK: "abcdef12"}, {MARK: []}),
    ],
)
def test_what_is_not_sealed_stays_as_it_is(value: Any) -> None:
    assert SEALS.open(value, "s", VALUE) == value
    assert opened(None, value, "s", VALUE) == value


@pytest.mark.parametrize("token", ["abcdef12:", f"{key_id(OLD)}:", f"{key_id(OLD)}:ä"])
def test_what_only_looks_sealed_is_unreadable(token: str) -> None:
    with pytest.raises(UnreadableValueError):
        opened(SEALS, {MARK: token}, "s", VALUE)


TOKENS = st.sampled_from(["", "a text", "00000000:x", Seals([OLD]).seal(1, "a", VALUE)[MARK]])
#: Values of somebody's that look as if they were encrypted, or as if somebody had said so.
LOOKALIKES = st.recursive(
    TOKENS | JSON, lambda inner: inner.map(lambda v: {MARK: v}) | inner.map(lambda v: [v])
)


@given(LOOKALIKES, st.sampled_from([None, Seals([OLD]), Seals([NEW, OLD])]))
def test_what_somebody_says_is_never_taken_for_ours(value: Any, seals: Seals | None) -> None:
    for reader in (seals, Seals([NEW, OLD])):  # who got keys later reads it, too
        assert opened(reader, sealed_value(seals, value, "s", VALUE), "s", VALUE) == value
        said = Outcome(state=State.SUCCEEDED, value=value)
        row = json.loads(json.dumps(sealed_outcome(seals, said, "s").compact()))
        assert opened_outcome(reader, row, "s").get("value") == value
        assert shown_value(reader, row, "s") == value
    told = {"task_id": "s", "result": sealed_value(seals, value, "s", RESULT)}
    assert opened_result(seals, told) == {"task_id": "s", "result": value}


@settings(max_examples=costly(100, part=3))
@given(st.lists(JSON, max_size=1), st.dictionaries(st.sampled_from([*sorted(CLEAR)]), JSON), JSON)
def test_of_a_payload_what_decides_stays_readable(
    args: list[Any], clear: dict[str, Any], hidden: Any
) -> None:
    payload = {"args": args, "kwargs": {**clear, "instructions": hidden}, "shared": {"input": [1]}}
    sealed = SEALS.seal_payload(payload, "s")
    assert {n: v for n, v in sealed["kwargs"].items() if n != MARK} == clear
    assert (sealed["args"], sealed["shared"]) == ([], {"input": [1]})
    assert SEALS.seal_payload(sealed, "s") == sealed
    assert SEALS.open_payload(sealed, CANVAS, "s") == payload
    for seals, place in ((SEALS, "other"), (OTHERS, "s"), (None, "s")):
        with pytest.raises(UnreadableValueError):
            opened_payload(seals, sealed, place)


def test_what_comes_in_front_of_a_links_arguments_is_its_input() -> None:
    sealed = SEALS.seal_payload({"args": [], "kwargs": {"agent": "a", "choices": ["x"]}}, CANVAS)
    told = {"args": ["before"], "kwargs": sealed["kwargs"]}
    whole = {"args": ["before"], "kwargs": {"agent": "a", "choices": ["x"]}}
    assert SEALS.open_payload(told, CANVAS, "s") == whole


def test_an_outcome_keeps_what_is_no_content() -> None:
    said = ChatMessage(role="assistant", content="on the way")
    outcome = Outcome(state=State.SUCCEEDED, agent="a", value={"x": "text"}, turns=(said,))
    sealed = SEALS.seal_outcome(outcome, "s").compact()
    assert "text" not in json.dumps(sealed)
    assert "way" not in json.dumps(sealed)
    assert (sealed["state"], sealed["agent"]) == ("succeeded", "a")
    assert Outcome.model_validate(opened_outcome(SEALS, sealed, "s")) == outcome
    nothing = Outcome(state=State.CANCELLED)
    assert SEALS.seal_outcome(nothing, "s") is nothing
    assert opened_outcome(None, nothing.compact(), "s") == nothing.compact()


def test_one_that_cannot_be_read_is_shown_as_such() -> None:
    sealed = SEALS.seal_outcome(Outcome(state=State.SUCCEEDED, value=1), "s").compact()
    assert shown_value(SEALS, sealed, "s") == 1
    assert shown_value(SEALS, None, "s") is None
    assert str(shown_value(SEALS, sealed, "t")).startswith("(unreadable: An encrypted value stands")
    assert shown(OTHERS, SEALS.seal(1, "s", VALUE), "s", VALUE).startswith("(unreadable: ")
    told = Outcome.model_validate(shown_outcome(OTHERS, sealed, "s"))
    assert told.error is not None
    assert (told.state, told.error.kind) == (State.FAILED, "unreadable")
    assert shown_outcome(SEALS, sealed, "s")["value"] == 1


def test_a_result_that_cannot_be_read_is_an_error() -> None:
    meta = {"task_id": "s", "status": "SUCCESS", "outcome": {}, "result": 1}
    assert opened_result(None, meta) is meta
    sealed = {**meta, "result": SEALS.seal(1, "s", "result")}
    assert opened_result(SEALS, sealed) == meta
    failed = opened_result(OTHERS, sealed)
    assert (failed["status"], "outcome" in failed) == ("FAILURE", False)
    assert failed["result"]["exc_type"] == "UnreadableValueError"


@settings(max_examples=costly(100, part=3))
@given(st.lists(JSON, min_size=1, max_size=4), st.integers(0, 2))
def test_a_new_key_takes_over(values: list[Any], nested: int) -> None:
    both = Seals([NEW, OLD])
    told: Any = [SEALS.seal(v, "s", VALUE) for v in values]
    told.append(OTHERS.seal("not ours", "s", VALUE))
    told.append(both.seal("new already", "s", VALUE))
    for _ in range(nested):  # JSON within a text of JSON, as in a message
        told = [json.dumps(told)]
    text, count = both.renewed(json.dumps(told, separators=(",", ":")))
    assert count == len(values)
    assert both.renewed(text) == (text, 0)
    told = json.loads(text)
    for _ in range(nested):
        told = json.loads(told[0])
    assert [Seals([NEW]).open(v, "s", VALUE) for v in told[: len(values)]] == values
    assert OTHERS.open(told[-2], "s", VALUE) == "not ours"


def test_what_was_changed_is_not_renewed() -> None:
    text = json.dumps(SEALS.seal(1, "s", VALUE)).replace("gAAAA", "gAAAB")
    assert Seals([NEW, OLD]).renewed(text) == (text, 0)


@given(st.text(), st.text())
def test_digests_tell_texts_apart_for_those_with_the_key(one: str, other: str) -> None:
    assert (SEALS.mark(one) == SEALS.mark(other)) is (one == other)
    assert SEALS.mark(one) != OTHERS.mark(one)
    assert SEALS.mark(one) in Seals([NEW, OLD]).marks(one)


def test_a_message_tells_nothing_of_its_payload() -> None:
    def fingerprint(seals: Seals | None, told: str, chosen: str | None = None) -> Any:
        about: Any = {"queue": "q", "limit_bytes": 10_000, "seals": seals}
        message = Draft("agents.ask", {"agent": "a"}, **about).message([told], chosen)
        assert told not in f"{message.argsrepr}{message.kwargsrepr}" or seals is None
        return message.fingerprint, message.known_as

    assert fingerprint(SEALS, "text")[0] != fingerprint(OTHERS, "text")[0]
    assert fingerprint(SEALS, "text") == fingerprint(SEALS, "text")
    assert fingerprint(SEALS, "text")[0] != fingerprint(None, "text")[0]
    # The same call under an id of somebody's choice, before and after there was a new key.
    before, after = fingerprint(SEALS, "text", "r"), fingerprint(Seals([NEW, OLD]), "text", "r")
    assert before[0] != after[0]
    assert before[0] in after[1]


@pytest.mark.parametrize("key", ["short", "x" * 44, OLD[:-2], f"{OLD}="])
def test_a_wrong_key_is_told_without_it(key: str) -> None:
    with pytest.raises(ConfigurationError, match=KEYS) as told:
        Seals([OLD, key])
    assert key not in str(told.value)


def test_keys_come_from_the_environment_and_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"{NEW}\n{OLD}\n")
    assert read_keys({}) == []
    assert seals_of([]) is None
    assert read_keys({KEYS: f" {OLD}, {NEW}"}) == [OLD, NEW]
    assert read_keys({KEYS: OTHER, KEYS_FILE: str(file)}) == [OTHER, NEW, OLD]
    with pytest.raises(ConfigurationError, match=KEYS_FILE):
        read_keys({KEYS_FILE: str(tmp_path / "none")})


@pytest.mark.parametrize("odd", [5, None, ["x"], {"a": 1}, "", f"{key_id(OLD)}:\ud800"])
def test_an_odd_mark_of_a_payload_is_unreadable(odd: Any) -> None:
    with pytest.raises(UnreadableValueError):
        SEALS.open_payload({"args": [], "kwargs": {MARK: odd}}, "s")
