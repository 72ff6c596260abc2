"""The beginning of an agent's requests, which its provider is asked to keep."""

from __future__ import annotations

from agents.governance.lessons import Lessons
from agents.models.config import ModelConfig
from agents.models.pieces import pieces_of
from agents.models.provider import ModelRequest
from agents.tools.calls import ToolSpec
from agents.values import digest, text_of

#: Providers keep no less.
LEAST_TOKENS = 1024


class PromptCache:
    """Says by which key a provider keeps the instructions and tools of one agent's requests.

    One that is short is not kept, unless the entry says so: of a server behind another URL nobody
    knows whether it takes the words for it.
    """

    def __init__(self, config: ModelConfig, lessons: Lessons) -> None:
        self._config = config
        self._lessons = lessons
        self._about: tuple[str | None, tuple[ToolSpec, ...]] = (None, ())
        self._key: str | None = None

    def key(self, request: ModelRequest) -> str | None:
        """The key of a request's beginning; None: it is not to be kept."""
        wanted, config = self._config.prompt_cache, self._config
        if wanted is False or (wanted is None and config.base_url is not None):
            return None
        about = (request.system, request.tools)
        if about != self._about:  # one agent's are mostly the same
            self._about, self._key = about, self._of(request)
        return self._key

    def _of(self, request: ModelRequest) -> str | None:
        told = [text_of([t.name, t.description, t.parameters]) for t in request.tools]
        texts = [request.system or "", *told]
        if not any(texts):
            return None
        if self._config.prompt_cache is None and not self._is_long(request, texts):
            return None
        return digest([request.model, *texts])

    def _is_long(self, request: ModelRequest, texts: list[str]) -> bool:
        if sum(len(text.encode("utf-8", "surrogatepass")) for text in texts) < LEAST_TOKENS:
            return False  # each token is a byte at least
        begins = request.model_copy(
            update={"history": (), "user": None, "exchanges": (), "answer_schema": None}
        )
        return self._lessons.at_hand.likely(pieces_of(begins)) > LEAST_TOKENS
