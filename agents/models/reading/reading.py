"""The common base of the protocols' readings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from agents.models.provider import Completion
from agents.models.reading.bodies import Body
from agents.models.reading.shapes import mapping
from agents.values import shown
from celery_agents.errors import BadAnswerError, ProviderUnavailableError


class ProtocolReading(ABC):
    """One answer, read body by body: a whole one, or the pieces of a stream."""

    def __init__(self, who: str) -> None:
        self._who = who
        self._ended = False  # complete, even if it does not say why
        self._stop = ""  # why it ended, in the protocol's word
        self._odd: Any = None  # what was told instead of an answer

    def add(self, body: Body) -> str:
        """Add one body; return the text that it brought.

        Raises:
            FailedError: it is an error.
        """
        self._ended = self._ended or body.last
        return self._add(mapping(body.value), body)

    @abstractmethod
    def _add(self, value: dict[str, Any], body: Body) -> str:
        """Add the body whose value is this object, an empty one if it is none."""

    @abstractmethod
    def completion(self) -> Completion:
        """Return the whole answer.

        Raises:
            BadAnswerError, ProviderRefusedError, ProviderUnavailableError: it is no answer.
        """

    def _without(self, what: str) -> BadAnswerError:
        odd = "" if self._odd is None else f": {shown(self._odd)}"
        return BadAnswerError(f"{self._who} gave an answer without {what}{odd}.")

    def _nameless(self) -> BadAnswerError:
        return BadAnswerError(f"{self._who} called a tool without naming it.")

    def _broken_off(self) -> ProviderUnavailableError:
        return ProviderUnavailableError(f"{self._who} is not available: the answer broke off")
