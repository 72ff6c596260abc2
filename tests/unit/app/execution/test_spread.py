from __future__ import annotations

import pytest

from app.execution.spread import check_chain, following
from celery_agents.errors import PayloadTooLargeError

KB, MB = 1024, 1024 * 1024


@pytest.mark.parametrize(
    ("links", "size", "fits"),
    [
        (3_000, 400 * KB, False),
        (2_000, 250 * KB, False),
        (400, 120 * KB, True),
        (0, 250 * KB, True),
    ],
)
def test_a_chain_that_is_stored_again_and_again(links: int, size: int, fits: bool) -> None:
    if fits:
        check_chain([{}] * links, size, 64 * MB)
    else:
        with pytest.raises(PayloadTooLargeError, match="hands on"):
            check_chain([{}] * links, size, 64 * MB)


def test_what_follows_is_what_the_message_says() -> None:
    assert following({}) == []
    told = {"chain": [1], "callbacks": [2], "errbacks": None, "chord": {"a": 3}, "id": "x"}
    assert following(told) == [[1], [2], {"a": 3}]
    assert check_chain(None, 10**9, 1) is None
