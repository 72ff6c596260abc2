"""An object of another library as an agent: whatever it raises becomes an error of ours."""

from __future__ import annotations

from abc import ABC, abstractmethod

from agents.base import Answer, StepContext, Turn
from agents.net.sdks import sdk_failure
from agents.plan import Expand
from celery_agents.errors import AgentsError, ConfigurationError


class LibraryBackend(ABC):
    """An agent that another library runs. ``path`` is where its object stands, for errors."""

    def __init__(self, path: str) -> None:
        self._path = path

    async def answer(self, turn: Turn, step: StepContext) -> Answer | Expand:
        """Run it. What people are asked is waited for, without a slot.

        Raises:
            AgentsError: whatever it raised, as ours.
        """
        try:
            return await self._answered(turn, step)
        except AgentsError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever others raise becomes ours
            raise sdk_failure(self._path, error) from None

    async def aclose(self) -> None:  # noqa: B027 - most have nothing to close
        """Nothing to free: the object is its module's."""

    @abstractmethod
    async def _answered(self, turn: Turn, step: StepContext) -> Answer | Expand: ...


def not_installed(library: str, extra: str, error: ImportError) -> ConfigurationError:
    """The error for a library that cannot be imported."""
    return ConfigurationError(
        f"{library} cannot be imported ({error}). Install it with: "
        f"pip install 'celery-agents[{extra}]'"
    )
