"""Writing down what agents reply: ``scripted("triage").answers("refund")``."""

from __future__ import annotations

from typing import Any

from app.testing.replies import ReplyStore, WrittenReply
from celery_agents.contracts.base import JsonValue
from celery_agents.errors import AgentsError

#: The name of the agent that a stack has beside those of the project.
SCRIPTED = "scripted"
#: Seconds for which an agent that hangs does: longer than a step may take by default.
_HANGS_S = 3600.0


class AgentScript:
    """The replies of one agent, in their order; the last one repeats.

    Of an agent that is a model they stand for the model alone: its instructions, tools, retries,
    guards and costs are as they are. Of any other one they stand for the agent.
    """

    def __init__(self, store: ReplyStore, agent: str, when: str | None = None) -> None:
        self._store = store
        self.agent = agent
        self._when = when

    def answers(self, *values: JsonValue, after: float = 0.0) -> AgentScript:
        """Answer these, each ``after`` so many seconds: texts, or values of the asked form.

        A text stands for the option in a vote.
        """
        for value in values:
            self._add(value=value, after_s=after)
        return self

    def streams(self, *pieces: str, pause: float = 0.01, after: float = 0.0) -> AgentScript:
        """Answer a text in pieces, with a pause of so many seconds before each."""
        self._add(value="".join(pieces), pieces=pieces, pause_s=pause, after_s=after)
        return self

    def calls(self, tool: str, /, **arguments: JsonValue) -> AgentScript:
        """Call a tool of the agent, once; its result goes back in the next request."""
        return self.calls_all((tool, arguments))

    def calls_all(self, *calls: tuple[str, dict[str, JsonValue]]) -> AgentScript:
        """Call several tools in one reply."""
        self._add(calls=calls)
        return self

    def fails(
        self,
        error: str | AgentsError | type[AgentsError],
        message: str = "scripted",
        *,
        retry_after: float | None = None,
        times: int = 1,
        after: float = 0.0,
    ) -> AgentScript:
        """Fail with an error, or with that of a kind (``rate_limited``), so many times."""
        kind = error if isinstance(error, str) else error.kind
        told = error.message if isinstance(error, AgentsError) else message
        about: Any = {"retry_after_s": retry_after, "after_s": after}
        for _ in range(times):
            self._add(error=kind, message=told, **about)
        return self

    def hangs(self) -> AgentScript:
        """Answer nothing, until whoever asks gives up."""
        self._add(after_s=_HANGS_S)
        return self

    def when(self, text: str) -> AgentScript:
        """The replies to inputs in which a text stands; they go before others."""
        return AgentScript(self._store, self.agent, text)

    @property
    def asked(self) -> list[dict[str, Any]]:
        """The requests that it got, in order: their ``input``; of a model ``system`` and more."""
        return self._store.asked(self.agent)

    def _add(self, **about: Any) -> None:
        self._store.add(self.agent, WrittenReply(when=self._when, **about))


class Scripted(AgentScript):
    """The scripts of all agents: of one by its name, else of the agent ``scripted``."""

    def __init__(self, store: ReplyStore) -> None:
        super().__init__(store, SCRIPTED)

    def __call__(self, agent: str) -> AgentScript:
        """The script of an agent."""
        return AgentScript(self._store, agent)

    def clear(self) -> None:
        """Forget all replies, and what was asked."""
        self._store.clear()
