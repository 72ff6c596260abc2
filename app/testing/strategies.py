"""Strategies of Hypothesis: what members of patterns may answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from celery_agents.errors import AgentFailedError, BadAnswerError

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy


def ballots(
    voters: Sequence[str],
    options: Sequence[str],
    *,
    failures: bool = True,
    confidence: bool = False,
) -> SearchStrategy[dict[str, Any]]:
    """Answers of all voters, by their keys: one of the options each, or an error.

    For ``OrchestratorTester("vote", …).run(…)``. ``confidence``: with reasons and confidences.
    """
    from hypothesis import strategies as st

    option = st.sampled_from([*options])
    one: Any = option
    if confidence:
        sure = st.floats(0, 1)
        one = st.fixed_dictionaries({"option": option, "confidence": sure, "reason": st.text()})
    if failures:
        errors = [AgentFailedError("drawn"), BadAnswerError("drawn")]
        one = st.one_of(one, st.sampled_from(errors))
    return st.fixed_dictionaries(dict.fromkeys(voters, one))
