"""The agent ``scripted``, which every stack of the test kit has: a model without a provider."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from celery_agents import agent


@agent(name="scripted", effects="pure", description="Replies as the test has written.")
def scripted(text: Any, choices: Sequence[str] | None = None) -> Any:
    """Reply with what was asked, or the first choice, while the test has written nothing."""
    return choices[0] if choices else text
