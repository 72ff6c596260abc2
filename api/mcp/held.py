"""A call that is held: until its run has ended, or its tool asks the client."""

from __future__ import annotations

import logging
from typing import Any

from mcp.shared.exceptions import MCPError
from mcp.types import MISSING_REQUIRED_CLIENT_CAPABILITY as MISSING

from api.mcp.asking import Questions, answer, asked, can_be_asked
from api.mcp.callers import Caller
from api.mcp.calls import CalledRun, begin
from api.mcp.holding import HELD_S, QUICK_S, end_of
from api.mcp.journaled import task_of, untasked
from api.mcp.listening.resuming import event_id, first_event
from api.mcp.news import RunNews, level_of
from api.mcp.sealing.states import opened
from api.mcp.states import CORE
from api.mcp.streaming import STREAM
from celery_agents.contracts.outcome import Outcome
from celery_agents.errors import ClientLacksError, JournalUnavailableError
from celery_agents.noted import noting

log = logging.getLogger(__name__)


class HeldCall:
    """One request whose result a run makes.

    ``about`` tells it from others: only the same goes on with the run of an earlier one.
    ``stream_s``: its client comes back after that, if it can.
    """

    def __init__(
        self,
        ctx: Any,
        caller: Caller,
        params: Any,
        about: Any,
        *,
        by_task: bool = False,
        stream_s: float | None = None,
    ) -> None:
        self._ctx, self._caller, self._params = ctx, caller, params
        self._about = [ctx.method, about]
        self._by_task, self._stream_s = by_task, stream_s
        self._resumable = False
        self._level: str | None = None
        self._run: CalledRun

    async def begun(self, name: str, arguments: dict[str, Any]) -> CalledRun:
        """The run: a new one, or that of the request whose state came with this one.

        Raises:
            MCPError: the state is none, or it is no answer that came; or as of ``begin``.
        """
        ctx, caller = self._ctx, self._caller
        if (state := getattr(self._params, "request_state", None)) is not None:
            run_id, marks = await opened(caller, state, self._about)
            tree = await task_of(caller, run_id)
            await answer(caller, run_id, marks, self._params.input_responses or {})
            self._run = CalledRun(run_id, tree.get("task") or "", replayed=True, of_tool=True)
            return self._run
        self._level = await level_of(ctx, caller)
        self._run = await begin(
            caller,
            name,
            arguments,
            meta_of(ctx),
            refusal=None if self._by_task else untasked(ctx),
            asks=can_be_asked(ctx),
            stream=self._level is not None or "progressToken" in meta_of(ctx),
        )
        await self._begin_stream()
        return self._run

    async def _begin_stream(self) -> None:
        """Tell a client that can come back how to."""
        ctx = self._ctx
        if ctx.method != "tools/call" or ctx.protocol_version != CORE or ctx.request is None:
            return
        stream = ctx.request.scope.get(STREAM)
        told: str | None = None
        with noting(log, "mcp_stream", "A call cannot be resumed", JournalUnavailableError):
            told = await event_id(self._caller, self._run.id, ctx.request_id)
        if stream is not None and told is not None:
            await stream.begin_with(first_event(told))
            self._resumable = True

    async def end(self) -> Any:
        """The outcome, or the result that tells the client what it is asked; None: it goes on.

        Raises:
            MCPError: the tool asks for what the client has not said it can do.
        """
        ctx, caller, run = self._ctx, self._caller, self._run
        early = getattr(self._params, "request_state", None) is None
        given = getattr(self._params, "input_responses", None) if early else None
        questions = Questions(ctx, caller, run.id, given) if run.of_tool else None
        watched = self._level is not None or "progressToken" in meta_of(ctx)
        news = RunNews(ctx, caller, run.id, self._level) if watched else None
        try:
            outcome = await end_of(
                caller,
                run.id,
                look=run.replayed,
                tell=telling(ctx),
                most_s=self._most_s,
                asks=None if questions is None else questions.look,
                resumable=self._resumable,
            )
        finally:
            if questions is not None:
                questions.close()
            if news is not None:
                await news.close()
        if outcome is None and self._goes_on:
            await ctx.request.scope[STREAM].close()
        if ctx.protocol_version <= CORE:  # its client was asked on the stream, if at all
            return outcome
        if outcome is None and questions is not None and questions.open:
            return await asked(caller, run.id, questions.open, self._about)
        if outcome is not None:
            _check_lacks(outcome)
        return outcome

    @property
    def _goes_on(self) -> bool:
        """True where its client comes back: it was sent away, or the process ends."""
        leaving = self._caller.services.under_way.leaving
        return self._resumable and (self._stream_s is not None or leaving)

    @property
    def _most_s(self) -> float:
        if self._by_task:
            return QUICK_S
        return self._stream_s if self._resumable and self._stream_s is not None else HELD_S


def _check_lacks(outcome: Outcome) -> None:
    error = outcome.error
    if error is not None and error.kind == ClientLacksError.kind:
        needed: dict[str, Any] = {str(error.details.get("capability")): {}}
        raise MCPError(MISSING, error.message, {"requiredCapabilities": needed})


def meta_of(ctx: Any) -> dict[str, Any]:
    """The ``_meta`` of a request, as it was sent."""
    found = (ctx.params or {}).get("_meta")
    return dict(found) if isinstance(found, dict) else {}


def telling(ctx: Any) -> Any:
    """The way to tell the sender of a request that its run goes on."""

    async def tell(seconds: float) -> None:
        await ctx.session.report_progress(round(seconds, 1), None, "The run goes on.")

    return tell
