from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import Field, ValidationError

from celery_agents.contracts.base import Contract, Name, mistakes, period_of, whole_of
from celery_agents.errors import InvalidPayloadError


@pytest.mark.parametrize("value", [1, 7, 10])
def test_whole_numbers(value: int) -> None:
    assert whole_of(value, "limit", least=1, most=10) == value


@pytest.mark.parametrize("value", [0, 11, -1, 10**30, True, 1.0, "1", None, [1], {"a": 1}])
def test_what_is_no_whole_number_within_its_bounds(value: Any) -> None:
    with pytest.raises(InvalidPayloadError, match=r"limit: it is a whole number from 1 to 10\."):
        whole_of(value, "limit", least=1, most=10)


class _Form(Contract):
    plain: Annotated[str, Field(pattern=r"^[a-z]+$")] = "a"
    name: Name = "a"
    many: tuple[int, ...] = ()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"plain": "A"}, "String should match pattern '^[a-z]+$'"),
        ({"name": "a\x1b"}, "A zero byte, a line end or another control character is in it"),
        ({"many": "a"}, "Input should be a valid list"),
    ],
)
def test_mistakes_in_words_of_json(given: Any, told: str) -> None:
    with pytest.raises(ValidationError) as caught:
        _Form.model_validate(given)
    assert mistakes(caught.value) == [(*given, told)]


@pytest.mark.parametrize("value", [None, 1, 0.5, 3600.0])
def test_periods(value: Any) -> None:
    assert period_of(value, "every_s") == value


@pytest.mark.parametrize("value", [0, -1, 1e12, 10**400, "60", True, [1], {}])
def test_what_is_no_period(value: Any) -> None:
    with pytest.raises(InvalidPayloadError, match="every_s: "):
        period_of(value, "every_s")
