from __future__ import annotations

from tests.support import canvases

#: Canvases of the suite; thousands are tried by hand, with the same seeds.
COUNT = 150


def test_random_canvases_give_what_celery_gives_and_call_whom_it_calls() -> None:
    assert canvases.differing(COUNT) == []
    assert not canvases.unrun
