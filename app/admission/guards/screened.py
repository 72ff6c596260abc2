"""A step whose agent's words are looked at by its guards before anybody hears them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NoReturn, TypeVar

from agents.guarding.screening import Screen
from agents.memory.sizes import tokens_of
from agents.plan import Expand, Member
from app.admission.guard import GuardedStep
from app.concurrency.fibers import in_thread
from celery_agents import names
from celery_agents.contracts.approval import ClientRequest
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.conversation import ChatMessage
from celery_agents.contracts.memory import MemoryRecord
from celery_agents.errors import BlockedError

T = TypeVar("T")

#: Characters of a text that are looked at on the loop: more takes longer than a thread's wake.
SHORT = 4_096
#: Characters that gather before a streamed text is looked at again.
_PIECE = 48
#: Which call of which tool an event is of, which no judge has to see.
_OF_CALL = ("call_id", "name")


class ScreenedStep:
    """A step whose agent's words are held back until it is known that they may be told."""

    def __init__(self, step: GuardedStep, screen: Screen, agent: str) -> None:
        self._step = step
        self._screen = screen
        self._agent = agent
        self._held: list[str] = []  # not looked at yet
        self._waiting = 0
        self._whole: list[str] = []  # texts that are told at the end
        self._text = screen.held()
        self._emitted: list[JsonValue] = []
        self._turns: Sequence[ChatMessage] = ()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._step, name)

    def say(self, text: str) -> None:
        """Tell watchers a piece of the answer's text, once nothing can come of it any more."""
        if not self._step.streamed:
            return
        if not self._screen.streams_changed:
            self._step.say(text)
            return
        self._held.append(text)
        self._waiting += len(text)
        if self._waiting >= _PIECE and not self._screen.holds_all:
            self._say(self._text.add(self._taken()))

    def spoken(self) -> None:
        """End a part of which all was said; what may go on in the next one is told with that."""
        if self._screen.holds_all:
            self._whole.append(self._taken())
        else:
            self._say(self._text.add(self._taken()) + self._text.part())

    def tell(self, kind: Any, **data: JsonValue) -> None:
        """Tell watchers an event. What was said before it is no whole text yet, and waits on."""
        if kind == "restart":
            self._taken()
            self._whole.clear()
            self._text = self._screen.held()
        if self._screen.judged:  # names of fields are the code's
            of_call = _OF_CALL if kind in {"tool", "tool_result"} else ()
            told = {n: one if n in of_call else self._screen.event(one) for n, one in data.items()}
        else:
            told = _fields(self._screen.event({**data}))
        self._step.tell(kind, **told)

    async def progress(self, **fields: JsonValue) -> None:
        """Tell how far it is, without a text that nobody has looked at whole.

        Raises:
            BlockedError: a guard does not let it pass; nothing is told.
        """
        if self._screen.hides:
            fields.pop("text", None)
        if self._screen.judged:  # nobody asks it about each of them
            fields = {name: one for name, one in fields.items() if _is_figure(one)}
        if self._screen.looks and not all(map(_is_figure, fields.values())):
            found = await looked(self._screen, fields, lambda: self._screen.shown({**fields}))
            shown, guard = found
            if guard is not None:
                self._refuse(guard, "a progress report")
            fields = _fields(shown)
        await self._step.progress(**fields)

    def emit(
        self, stream: str, kind: str, data: Mapping[str, JsonValue], *, key: str | None = None
    ) -> None:
        """Add an entry to a stream when the step succeeds.

        Raises:
            BlockedError: a guard does not let it pass, or finds what it masks in the stream's name,
                the kind or the key, which would be others then; nothing is added.
        """
        told, guard = self._screen.shown({**data})
        address: JsonValue = [stream, kind, key]
        named, also = self._screen.shown(address)
        if (guard := guard or also) is not None:
            self._refuse(guard, "an entry")
        if named != address:
            raise BlockedError(
                f"An entry of {self._agent} is not added: its guards find something in the name of "
                "the stream, the kind or the key. Give names without data of persons.",
                {"side": "output"},
            )
        self._step.emit(stream, kind, _fields(told), key=key)
        self._emitted.append({**data})

    def meant(self, arguments: JsonValue) -> JsonValue:
        """Return arguments of a tool with what the model's marks stand for."""
        return self._screen.restored(arguments)

    async def seen(self, result: JsonValue, *, but_own: bool = False) -> JsonValue:
        """Return a tool's result as the model may see it; ``but_own``: it may say our marks."""
        return await looked(
            self._screen, result, lambda: self._screen.result(result, but_own=but_own)
        )

    def memory(self, name: str) -> Any:
        """Return a memory whose texts are of other runs, and kept for others."""
        return ScreenedMemory(self._step.memory(name), self._screen)

    async def ask(self, agent: Any, input: JsonValue = None, **options: Any) -> Any:  # noqa: A002
        """Ask another agent: numbers of marks that it did not have of this one are its own."""
        value = await self._step.ask(agent, input, **options)
        return value if options.get("answer") else self._screen.others(value, but_own=True)

    async def ask_client(self, request: ClientRequest) -> JsonValue:
        """Ask the client of a tool, without what the guards find.

        Raises:
            BlockedError: a guard does not let it pass; nothing is asked.
        """
        shown, guard = await looked(
            self._screen, request.params, lambda: self._screen.shown({**request.params})
        )
        if guard is not None:
            self._refuse(guard, "a question")
        told = request.model_copy(update={"params": _fields(shown)})
        return self._screen.others(await self._step.ask_client(told), but_own=True)

    async def remembered(self) -> None:
        """Look at what it wants to be kept for other runs, beside the loop."""
        if not self._screen.keeps_changed:
            return
        for new in [one for one in self._step.learned.values() if one.text]:
            text, guard = await in_thread(lambda new=new: self._screen.kept(new.text))
            self._screen.blocked = self._screen.blocked or guard
            if text != new.text:
                tokens = tokens_of(text, new.policy)
                self._step.learned[new.id] = replace(new, text=text, tokens=tokens)

    def heard(self, turns: Sequence[ChatMessage]) -> None:
        """Keep what the agent said on the way until the guards have looked at it."""
        self._turns = turns

    async def turns(self) -> tuple[ChatMessage, ...]:
        """Return that as its session is to keep it."""
        if not self._turns:
            return ()
        return await in_thread(lambda: self._screen.heard(self._turns))

    def keep(self, turns: tuple[ChatMessage, ...]) -> None:
        """Keep what was said on the way, for its session."""
        if turns:
            self._step.heard(turns)

    def waiting(self, plan: Expand) -> Expand:
        """Return what it waits for with words beside calls as a person may see them.

        The calls themselves stay as they would be made: it is them that a person approves.
        """
        if not self._screen.streams_changed or not any(map(_is_wish, plan.members)):
            return plan
        told = tuple(self._wished(one) if _is_wish(one) else one for one in plan.members)
        return plan.model_copy(update={"members": told})

    def beside(self, plan: Expand | None = None) -> list[JsonValue]:
        """Return all that it lets out beside its answer, for whoever judges that."""
        said: list[JsonValue] = [turn.text for turn in self._turns if turn.role == "assistant"]
        wishes = () if plan is None else plan.members
        asked: list[JsonValue] = [one.input for one in wishes if _is_wish(one)]
        kept: list[JsonValue] = [one.text for one in self._step.learned.values() if one.text]
        return [*(one for one in said if one), *self._emitted, *kept, *asked]

    async def end(self) -> None:
        """Tell the rest of what was said; whole texts are looked at beside the loop."""
        if self._screen.holds_all:
            self.spoken()
        else:
            self._say(self._text.add(self._taken()) + self._text.end())
        whole, self._whole = [text for text in self._whole if text], []
        if whole:
            self._say(await in_thread(_told_whole, self._screen, whole))

    def _wished(self, wish: Member) -> Member:
        told = _fields(wish.input)
        why = self._screen.restored(self._screen.said(told.get("why")))
        _, guard = self._screen.shown(told.get("arguments"))
        self._screen.blocked = self._screen.blocked or guard
        return wish.model_copy(update={"input": {**told, "why": why}})

    def _say(self, text: str) -> None:
        if text:
            self._step.say(text)

    def _refuse(self, guard: str, what: str) -> NoReturn:
        raise BlockedError(
            f"The guard {guard} does not let {what} of {self._agent} pass.",
            {"guard": guard, "side": "output"},
        )

    def _taken(self) -> str:
        held, self._held, self._waiting = "".join(self._held), [], 0
        return held


class ScreenedMemory:
    """A memory as the code of an agent with guards uses it.

    Code is told what is kept as it stands: what it says of that is looked at as it comes out. A
    mark in it is another run's. What code keeps is looked at when the step ends.
    """

    def __init__(self, memory: Any, screen: Screen) -> None:
        self._memory = memory
        self._screen = screen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._memory, name)

    async def recall(self, question: str, **options: Any) -> list[MemoryRecord]:
        """Recall what fits a question."""
        asked = str(self._screen.restored(question))
        found: list[MemoryRecord] = await self._memory.recall(asked, **options)
        return [one.model_copy(update={"text": self._screen.others(one.text)}) for one in found]


async def looked(
    screen: Screen, value: JsonValue, look: Callable[[], T], *, alone: bool = True
) -> T:
    """Look at texts: at long ones, and by others' functions, beside the loop."""
    short = alone and (
        not isinstance(value, dict | list | str) or (isinstance(value, str) and len(value) <= SHORT)
    )
    return look() if short and not screen.foreign else await in_thread(look)


def _told_whole(screen: Screen, parts: Sequence[str]) -> str:
    held = screen.held()
    for part in parts:
        held.add(part)
        held.part()
    return held.end()


def _is_wish(member: Member) -> bool:
    return member.task == names.APPROVAL


def _is_figure(value: JsonValue) -> bool:
    return value is None or isinstance(value, bool | int | float)


def _fields(value: JsonValue) -> dict[str, JsonValue]:
    return value if isinstance(value, dict) else {}
