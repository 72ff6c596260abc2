"""Questions of tools to the client that called them, which wait in the journal for its answer.

A client of 2026-07-28 is told them as the result of its call, with a state by which its next one
goes on with the same run. An older one is asked on the stream of its call, and answers by a message
of its own, to whichever process.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from mcp import types
from mcp.shared.exceptions import MCPError, NoBackChannelError
from mcp.types import CONNECTION_CLOSED
from pydantic import ValidationError

from agents.schema import problem
from api.mcp.callers import Caller, check_may
from api.mcp.sealing.states import is_sealed, mark, sealed, with_seal
from api.mcp.sessions import asks_of, session_of
from api.mcp.states import CORE
from api.mcp.streaming import ASKED, TELL
from api.problems import ProblemError
from api.runs import find
from app.access.permissions import Permission
from celery_agents.contracts.approval import CLIENT, ClientRequest
from celery_agents.contracts.base import id_of
from celery_agents.errors import AgentsError, InvalidPayloadError, JournalUnavailableError
from celery_agents.noted import note, noting

log = logging.getLogger(__name__)


def can_be_asked(ctx: Any) -> tuple[str, ...]:
    """The things that the sender of a request has said it can be asked."""
    told = ctx.session.client_capabilities
    if ctx.request is not None and ctx.protocol_version <= CORE:
        return asks_of(session_of(ctx.request.headers))
    return tuple(
        name
        for name in ("elicitation", "sampling", "roots")
        if getattr(told, name, None) is not None
    )


async def questions(caller: Caller, run_id: str) -> list[dict[str, Any]]:
    """The questions of a run to its client that are not answered."""
    found = await caller.services.read(caller.services.desk.wishes_of, run_id)
    return [dict(wish) for wish in found if wish.get("asks") == CLIENT]


async def give(caller: Caller, run_id: str, wish: Mapping[str, Any], told: Any) -> None:
    """Have a worker write down the answer to a question.

    Raises:
        MCPError: it is none.
    """
    if (wrong := _wrong(ClientRequest.model_validate(wish["request"]), told)) is not None:
        raise MCPError(types.INVALID_PARAMS, f"The answer to {wish['request']['key']}: {wrong}")
    services = caller.services
    try:
        await services.ask(caller.who, services.client.runs.approve, run_id, told, key=wish["key"])
    except InvalidPayloadError:
        if any(one["key"] == wish["key"] for one in await questions(caller, run_id)):
            raise  # else somebody was quicker


def _wrong(request: ClientRequest, told: Any) -> str | None:
    if (wrong := request.problem(told)) is not None:
        return wrong
    schema = request.params.get("requestedSchema")
    if told.get("action") != "accept" or not isinstance(schema, dict):
        return None
    try:
        return problem(told.get("content") or {}, schema, what="the content", of="The form")
    except AgentsError as error:
        return error.message


# -- clients of 2026-07-28, which give a state back


async def asked(
    caller: Caller, run_id: str, wishes: list[dict[str, Any]], about: Any
) -> types.InputRequiredResult:
    """The result that tells a client its questions.

    Raises:
        MCPError: a tool asks what no client knows.
    """
    requests: dict[str, Any] = {}
    keys: dict[str, str] = {}
    for wish in wishes:
        key = wish["request"]["key"]
        name = key if key not in requests else wish["key"]
        requests[name] = {n: wish["request"][n] for n in ("method", "params")}
        keys[name] = wish["key"]
    told = {"inputRequests": requests, "requestState": await sealed(caller, run_id, about, keys)}
    try:
        return types.InputRequiredResult.model_validate(told, by_name=False)
    except ValidationError:
        raise MCPError(types.INTERNAL_ERROR, "The tool asks what no client knows.") from None


async def answer(
    caller: Caller, run_id: str, marks: frozenset[str], responses: Mapping[str, Any]
) -> None:
    """Give the answers that came with a state, by the names that its questions had.

    A tool may ask by the same name again: what was an answer before, and is sent twice, is none to
    a question that its client has not seen.

    Raises:
        MCPError: one is none.
    """
    for wish in await questions(caller, run_id):
        for name in (wish["request"]["key"], wish["key"]):
            if name in responses and mark(name, wish["key"]) in marks:
                await give(caller, run_id, wish, _plain(responses[name]))
                break


def _plain(told: Any) -> Any:
    dump = getattr(told, "model_dump", None)
    return told if dump is None else dump(by_alias=True, mode="json", exclude_none=True)


# -- clients that are asked by requests


class Questions:
    """Those of one call: looked for while it is held.

    ``given``: answers that came with the call itself, by the names of their questions.
    """

    def __init__(
        self, ctx: Any, caller: Caller, run_id: str, given: Mapping[str, Any] | None = None
    ) -> None:
        self.open: list[dict[str, Any]] = []
        self._given = dict(given or {})
        self._ctx, self._caller, self._run_id = ctx, caller, run_id
        self._asked: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def look(self) -> bool:
        """Return whether the call has to end for them; an older client is asked at once."""
        try:
            self.open = await questions(self._caller, self._run_id)
        except JournalUnavailableError as error:  # the run goes on, and so does whoever waits
            note(log, "mcp_questions", "Whether tools ask is not known", error=error)
            return False
        if self._ctx.protocol_version > CORE:
            await self._give()
            return bool(self.open)
        for wish in self.open:
            if wish["key"] not in self._asked:
                self._asked.add(wish["key"])
                try:
                    await self._ask(wish)
                except JournalUnavailableError as error:  # no secret of seals is known here yet
                    note(log, "mcp_questions", "A client is asked later", error=error)
                    self._asked.discard(wish["key"])
        return False

    async def _give(self) -> None:
        """Answer what was answered before it was asked; what is no answer is asked for."""
        for wish in self.open:
            if (name := wish["request"]["key"]) in self._given:
                told = _plain(self._given.pop(name))
                text = "An answer that came with its call is none"
                with noting(log, "mcp_answer", text, MCPError):
                    await give(self._caller, self._run_id, wish, told)
                    self._asked.add(wish["key"])
        self.open = [wish for wish in self.open if wish["key"] not in self._asked]

    async def _ask(self, wish: dict[str, Any]) -> None:
        request = {"method": wish["request"]["method"], "params": wish["request"]["params"]}
        if self._ctx.request is None:  # a pipe leads back to this process
            task = asyncio.create_task(self._piped(wish, **request))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif (tell := self._ctx.request.scope.get(TELL)) is not None:
            name = f"{ASKED}/{self._run_id}/{wish['key']}"
            asked_as = await with_seal(self._caller, name, sign="/")
            await tell({"jsonrpc": "2.0", "id": asked_as, **request})

    async def _piped(self, wish: dict[str, Any], method: str, params: dict[str, Any]) -> None:
        outbound = self._ctx.session._request_outbound  # noqa: SLF001
        try:
            told = await outbound.send_raw_request(method, params)
        except NoBackChannelError:
            return
        except MCPError as error:
            if error.error.code == CONNECTION_CLOSED:
                return  # it has gone, and refused nothing: the run waits on
            told = None
        try:
            await settle(self._caller, self._run_id, wish, told)
        except (MCPError, AgentsError, ProblemError) as error:
            note(log, "mcp_answer", "A client's answer is none, or was not taken", error=error)
            self._asked.discard(wish["key"])  # it is asked again

    def close(self) -> None:
        """Wait for nobody any more."""
        for task in self._tasks:
            task.cancel()


async def settle(caller: Caller, run_id: str, wish: Mapping[str, Any], told: Any) -> None:
    """Give an older client's answer; where it refused to be asked, its user has said nothing."""
    if told is not None:
        await give(caller, run_id, wish, told)
    elif wish["request"]["method"] == "elicitation/create":
        await give(caller, run_id, wish, {"action": "cancel"})
    else:
        services = caller.services
        await services.ask(
            caller.who, services.client.runs.cancel, run_id, tenant=caller.who.tenant
        )


async def take(caller: Caller, message: Mapping[str, Any]) -> None:
    """Take an answer that came by itself.

    Raises:
        ProblemError: it is somebody else's question, or no answer to it.
    """
    check_may(caller, Permission.RUNS_CREATE)
    name = await is_sealed(caller, str(message["id"]), sign="/")
    if name is None:
        raise ProblemError(404, "not_found", "There is no such question.")
    run_id, _, key = name.removeprefix(f"{ASKED}/").partition("/")
    await find(caller.services, caller.who, id_of(run_id))
    for wish in await questions(caller, run_id):
        if wish["key"] == key:
            try:
                await settle(caller, run_id, wish, message.get("result"))
            except MCPError as error:
                raise ProblemError(422, "invalid_payload", error.error.message) from None
