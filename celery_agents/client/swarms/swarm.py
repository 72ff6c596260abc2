"""``agents.swarm(name, members)``: agents that belong together."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from typing_extensions import Unpack

from celery_agents import names
from celery_agents.client.bus.events import EventStore
from celery_agents.client.control import Control
from celery_agents.client.flows.run import FlowRun
from celery_agents.client.flows.verb import StartVerb
from celery_agents.client.options import RunOptions
from celery_agents.client.runs import Runs
from celery_agents.client.swarms.roll import SwarmRoll
from celery_agents.client.swarms.run import BroadcastRun, ConsensusRun, WorkRun
from celery_agents.contracts.base import JsonValue, id_of, name_of, tenant_of
from celery_agents.contracts.flows.entries import StreamEntry, StreamEvent
from celery_agents.contracts.teams.swarm import (
    ASKED,
    BEGAN,
    ENDED,
    JOINED,
    LEFT,
    NEWS,
    STREAM,
    SWARM,
    SwarmInfo,
    SwarmStatus,
    SwarmWork,
    WorkStrategy,
    members_of,
    request_of,
    swarm_of,
)
from celery_agents.errors import InvalidPayloadError, StreamConflictError
from celery_agents.wire.ids import new_id

R = TypeVar("R", bound=FlowRun)
#: Members, by their names alone where these are their agents', too.
GivenMembers = Iterable[str] | Mapping[str, str]
#: Work begun that is told who joins and leaves: the newest of it; and seconds to wait for each.
_TOLD_MAX, _TELL_S = 100, 10.0


class Swarm:
    """Members that stand in the journal: whoever opens the swarm of this name has the same."""

    def __init__(
        self, events: EventStore, start: StartVerb, runs: Runs, of: tuple[str, str]
    ) -> None:
        self.name, self.tenant = swarm_of(of[0]), tenant_of(of[1])
        self._events, self._start, self._runs = events, start, runs
        self._stream = STREAM + self.name

    def __repr__(self) -> str:
        return f"<Swarm {self.name}>"

    @property
    def topic(self) -> str:
        """The topic on which its broadcasts are told, to whoever listens."""
        return self._stream

    def members(self) -> dict[str, str]:
        """Its members by their names, in the order in which they joined, and their agents."""
        return self._known().members

    def join(self, members: GivenMembers) -> dict[str, str]:
        """Add members; who is one has the agent that is said now. Returns all there are.

        Work that workers have begun with gives them units from then on.

        Raises:
            InvalidPayloadError: a name is none, or there are too many.
        """
        given = members_of(_named(members))

        def wanted(had: dict[str, str]) -> list[StreamEvent]:
            new = {name: agent for name, agent in given.items() if had.get(name) != agent}
            members_of({**had, **new})
            return [
                StreamEvent(kind=JOINED, data={"member": name, "agent": agent})
                for name, agent in new.items()
            ]

        return self._changed(wanted)

    def leave(self, *members: str) -> dict[str, str]:
        """Let members go; who is none is none. Returns those who are left.

        What they have begun they end; work that is under way gives their other units to others.
        """
        names = [name_of(name, "member") for name in members]
        return self._changed(
            lambda had: [
                StreamEvent(kind=LEFT, data={"member": name}) for name in names if name in had
            ]
        )

    def broadcast(
        self,
        message: JsonValue,
        *,
        sender: str | None = None,
        member_timeout_s: float | None = None,
        **options: Unpack[RunOptions],
    ) -> BroadcastRun:
        """Ask all members the same; the value has the answer of each, or why there is none.

        It is told on the swarm's topic, too. Who does not answer within ``member_timeout_s`` is
        not waited for.

        Raises:
            InvalidPayloadError: there are no members, or a part of it is wrong.
        """
        about = {"verb": "broadcast", "input": message, "sender": sender}
        return self._asked(BroadcastRun, {**about, "timeout_s": member_timeout_s}, options)

    def request_consensus(
        self,
        question: JsonValue,
        *,
        required_votes: int | None = None,
        choices: Iterable[str] | None = None,
        member_timeout_s: float | None = None,
        **options: Unpack[RunOptions],
    ) -> ConsensusRun:
        """Ask all members to choose: whether ``required_votes`` of them choose the same.

        Without it more than half. It ends as soon as nobody's answer can change it any more, or
        after ``member_timeout_s``.

        Raises:
            InvalidPayloadError: there are fewer members, or a part of it is wrong.
        """
        about: dict[str, Any] = {"verb": "consensus", "input": question}
        about |= {"required_votes": required_votes, "timeout_s": member_timeout_s}
        if choices is not None:
            about["choices"] = [*choices]
        return self._asked(ConsensusRun, about, options)

    def distribute_work(
        self,
        tasks: Iterable[JsonValue],
        *,
        strategy: WorkStrategy = "round_robin",
        at_a_time: int = 1,
        member_timeout_s: float | None = None,
        **options: Unpack[RunOptions],
    ) -> WorkRun:
        """Give each of these units of work to one member; the value has their answers.

        To those who are members now; who joins or leaves once a worker has begun with it counts
        from then on.

        ``round_robin``: each member gets as many. ``least_busy``: whoever is free gets the next
        one. ``priority``: the same, the most urgent first: units that are objects say so by their
        ``priority``, 0 (first) to 9, else they have 5. A member has ``at_a_time`` of them at a
        time.

        Raises:
            InvalidPayloadError: there are no members, or a part of it is wrong.
            PayloadTooLargeError: the units are too big for one message.
        """
        about = {"verb": "work", "input": [*tasks], "strategy": strategy, "at_a_time": at_a_time}
        return self._asked(WorkRun, {**about, "timeout_s": member_timeout_s}, options)

    def _known(self, of: str | None = None) -> SwarmRoll:
        """Its members, the work that is under way, and who were members of a run."""
        roll = SwarmRoll(of)
        for entry in self._events.read(self._stream, tenant=self.tenant):
            roll.add(entry)
        return roll

    def _changed(self, wanted: Any) -> dict[str, str]:
        while True:
            roll = self._known()
            new = wanted(roll.members)
            try:
                if new:
                    self._append(new, roll.length)
            except StreamConflictError:  # somebody was quicker
                continue
            for seq, event in enumerate(new, roll.length):
                about = event.model_dump()
                roll.add(StreamEntry(stream=self._stream, seq=seq, at=0.0, **about))
            self._tell(roll)  # also what somebody wrote, who died before he told it
            return roll.members

    def _append(self, new: list[StreamEvent], expected: int | None = None) -> list[int]:
        about: Any = {"expected": expected, "tenant": self.tenant}
        return self._events.append(self._stream, new, **about)

    def _tell(self, roll: SwarmRoll) -> None:
        """Tell work that is under way who is a member now, and note which has ended."""
        news: JsonValue = {"members": {**roll.members}, "at": roll.length}
        said = {
            run_id: self._start.tell(run_id, NEWS, news, f"{NEWS}-{roll.length}", self.tenant)
            for run_id in [*roll.runs][-_TOLD_MAX:]
        }
        ended = [
            StreamEvent(kind=ENDED, data={"run_id": run_id}, key=f"@{run_id}")
            for run_id, run in said.items()
            if run.get(timeout=_TELL_S) == "too_late"
        ]
        if ended:
            self._append(ended)

    def _asked(self, kind: type[R], about: dict[str, Any], options: RunOptions) -> R:
        """Ask its members, as they are now; or as they were, where that was asked before.

        So what is said again under an ``id`` is the same, whoever has joined since.
        """
        work = about["verb"] == "work"
        if work and not options.get("id"):
            options["id"] = new_id()
        run_id = options.get("id")
        known = None if run_id is None else id_of(run_id)
        roll = self._known(known)
        told = _told(self.name, about, roll.members if roll.then is None else roll.then)
        if known is not None and roll.then is None:
            first: Any = {"kind": BEGAN if work else ASKED, "data": {"run_id": known}}
            (place,) = self._append([StreamEvent(key=f"@{known}", **first)])
            if place != roll.length:  # who joined or left meanwhile was not told of it
                told = _told(self.name, about, self._known(known).then or roll.members)
        return self._started(kind, told, options)

    def _started(self, kind: type[R], told: dict[str, Any], options: RunOptions) -> R:
        options["tenant"] = self.tenant
        run = self._start(SWARM, told, **options)
        made = kind(self._runs, run.id, run.message)
        made.control = run.control
        return made


class SwarmVerb:
    """``agents.swarm(name, members)``: opens a swarm."""

    def __init__(self, events: EventStore, start: StartVerb, runs: Runs, control: Control) -> None:
        self._events, self._start, self._runs = events, start, runs
        self._control = control

    def list(
        self, *, tenant: str = "", limit: int = 100, timeout: float = 10.0
    ) -> builtins.list[SwarmInfo]:
        """Swarms in the order of their names."""
        found = self._control.ask(names.SWARMS, tenant_of(tenant), limit).get(timeout=timeout)
        return [SwarmInfo.of_stream(one) for one in found]

    def status(self, name: str, *, tenant: str = "") -> SwarmStatus | None:
        """How a swarm stands: its members, and the work that is under way; None: there is none.

        Raises:
            InvalidPayloadError: the name is none.
        """
        roll, where = SwarmRoll(), {"name": swarm_of(name), "tenant": tenant_of(tenant)}
        for entry in self._events.read(STREAM + where["name"], tenant=tenant):
            roll.add(entry)
        if not roll.length:
            return None
        newest = [*roll.runs][: -_TOLD_MAX - 1 : -1]
        work = [one for run_id in newest if (one := self._work(run_id)) is not None]
        return SwarmStatus(**where, members=roll.members, work=tuple(work))

    def _work(self, run_id: str) -> SwarmWork | None:
        """How work stands; None: it has ended, or no worker has begun with it."""
        found = self._runs.progress(run_id)
        if found is None or found.state.final:
            return None
        told = {"succeeded": found.succeeded, "failed": found.failed, "running": found.running}
        return SwarmWork(run_id=run_id, state=found.state, units=found.total, **told)

    def __call__(self, name: str, members: GivenMembers = (), *, tenant: str = "") -> Swarm:
        """Open the swarm of this name; the members that are given join it.

        Args:
            name: under which its members are known, by everybody.
            members: names of agents; or names of members and their agents, ``{"first": "gpt"}``:
                several may be of one agent.
            tenant: whose it is, and whose its runs are.

        Raises:
            InvalidPayloadError: a name is none.
        """
        swarm = Swarm(self._events, self._start, self._runs, (name, tenant))
        given = _named(members)
        if given:
            swarm.join(given)
        return swarm


def _named(members: GivenMembers) -> dict[str, str]:
    if isinstance(members, str):
        raise InvalidPayloadError("members: a list of names, not one text.")
    return dict(members) if isinstance(members, Mapping) else {name: name for name in members}


def _told(swarm: str, about: dict[str, Any], members: dict[str, str]) -> dict[str, Any]:
    """A request as the flow is told it.

    Raises:
        InvalidPayloadError: it is none.
    """
    told = {**about, "swarm": swarm, "members": members}
    if about["verb"] == "consensus" and about["required_votes"] is None:
        told["required_votes"] = len(members) // 2 + 1
    request = request_of(told)
    return {"verb": request.verb, **request.compact()}
