from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from celery_agents.contracts.limits import LimitPolicy


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({}, "limits nothing"),
        ({"covers": ["agent:a"]}, "limits nothing"),
        ({"learn": True, "per": "tenant"}, "leave per out"),
        ({"concurrent": 0}, "greater than or equal to 1"),
        ({"concurrent": 1, "covers": ["gpt"]}, "none of provider"),
        ({"requests_per_minutes": 1}, "Extra inputs"),
        ({"concurrent": 1, "per": "team"}, "Input should be"),
        ({"requests_per_minute": 5, "burst_s": 0.0}, "greater than 0"),
    ],
)
def test_a_limit_that_is_none_is_refused(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        LimitPolicy.model_validate(fields)


def test_a_limit_is_what_its_table_says() -> None:
    assert LimitPolicy.model_validate({"learn": True}).compact() == {"learn": True}
    assert LimitPolicy.model_validate({"concurrent": 3, "per": "key"}).concurrent == 3
