"""A map that resumes another one, which may be gone by the time that it goes on."""

from __future__ import annotations

from typing import Any

import pytest

from celery_agents.contracts.mapping import Map
from celery_agents.errors import InvalidPayloadError
from tasks.mapping import mapping


class Gone:
    """A step amid its pages; what it resumes was cleaned up."""

    class claim:  # noqa: N801 - as a step has it
        id = "r"

    lets_go = False

    def earlier_map(self, run_id: str) -> Any:
        raise InvalidPayloadError(f"resumes: there is no map {run_id}.")


def test_one_whose_earlier_run_is_gone_lets_go_of_its_members() -> None:
    step = Gone()
    with pytest.raises(InvalidPayloadError):
        mapping.run(step, Map(resumes="x"))
    assert step.lets_go
