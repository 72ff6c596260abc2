"""The agents of the documentation: a small help desk.

Offered by a worker that is started with ``AGENTS_MODULES='["examples.desk"]'``.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from celery_agents import (
    ActorContext,
    AgentSpec,
    Answer,
    FlowContext,
    RetryableError,
    StepContext,
    StreamEntry,
    Usage,
    actor,
    agent,
    flow,
    projection,
    reducer,
)
from celery_agents.errors import ProviderUnavailableError

#: Words that tell what a message is about.
_NOUNS = {"parcel": "delivery", "money": "refund", "invoice": "refund", "password": "account"}
_VERBS = {"arrive": "delivery", "paid": "refund", "log in": "account"}


def _first(words: dict[str, str], text: str) -> str | None:
    found = [(text.lower().find(word), topic) for word, topic in words.items()]
    return min((f for f in found if f[0] >= 0), default=(0, None))[1]


# ---------------------------------------------------------------- answers


@agent(effects="pure")
def shout(text: str) -> str:
    """Says it louder."""
    return text.upper()


@agent(effects="pure", cache=3600)
def measure(text: str) -> Answer:
    """Counts the words of a text, for a tenth of a cent."""
    return Answer(value=len(text.split()), usage=Usage(calls=1, cost_usd=0.001))


@agent
def flaky(text: str, step: StepContext) -> str:
    """Is away at first, and there at the second attempt."""
    if step.attempt < 2:  # noqa: PLR2004 - the second one
        raise RetryableError("busy, come again")
    return f"{text} (attempt {step.attempt})"


@agent
def down(_: Any) -> str:
    """Is always away."""
    raise ProviderUnavailableError("the desk is closed")


@agent
async def slow(text: str) -> str:
    """Takes half a minute, and can be cancelled."""
    await asyncio.sleep(30)
    return text


@agent(effects="pure")
async def drafts(about: str, step: StepContext) -> dict[str, Any]:
    """Writes a draft as JSON, and says it word by word meanwhile."""
    draft = {"subject": about, "lines": ["We look into it.", "Soon."]}
    for word in json.dumps(draft).split(" "):
        step.say(f"{word} ")
        await asyncio.sleep(0.01)
    return draft


@agent(effects="pure")
def remembers(text: str, messages: list[dict[str, Any]]) -> list[str]:
    """Tells all that it was asked in a conversation."""
    return [m["content"] for m in messages if m["role"] == "user"] + [text]


@agent
def priced(text: str) -> Answer:
    """Says what it cost, as a model would."""
    return Answer(value=len(text), usage=Usage(calls=1, input_tokens=len(text), cost_usd=0.002))


@agent(effects="effect")
def refund(order: dict[str, Any]) -> str:
    """Pays money back, so nobody may race it."""
    return f"refunded {order['amount']}"


# ---------------------------------------------------------------- what can be undone


@agent(effects="effect", compensation="release")
def reserve(order: dict[str, Any]) -> str:
    """Keeps a parcel for an order."""
    return f"a parcel for {order['number']}"


@agent(effects="effect", compensation="pay_back")
async def charge(order: dict[str, Any]) -> str:
    """Takes the money, a moment after the parcel was reserved."""
    await asyncio.sleep(0.2)
    return f"receipt {order['number']}"


@agent(effects="effect")
def ship(_: Any) -> str:
    """Has no lorry."""
    raise ValueError("no lorry today")


@agent
def release(done: dict[str, Any]) -> str:
    """Undoes a reservation; doing so twice is as once."""
    return f"{done['output']} is free again"


@agent
def pay_back(done: dict[str, Any]) -> str:
    """Undoes a charge: the step's id tells the bank which one, however often it is told."""
    return f"paid back by {done['output']} for {done['step']}"


# ---------------------------------------------------------------- ballots


@agent
def nouns(text: str) -> dict[str, Any]:
    """Sorts a message by its nouns."""
    return {"option": _first(_NOUNS, text), "confidence": 0.9, "reason": "its nouns"}


@agent
def verbs(text: str) -> dict[str, Any]:
    """Sorts a message by its verbs."""
    return {"option": _first(_VERBS, text), "confidence": 0.7, "reason": "its verbs"}


@agent
def tone(text: str) -> dict[str, Any]:
    """Sorts a message by how it ends; often wrong, and says so."""
    ends = {"?": "delivery", "!": "refund"}
    return {"option": ends.get(text[-1:], "account"), "confidence": 0.4, "reason": "its end"}


@agent(effects="pure")
def louder(_: Any, choices: list[str]) -> str:
    """Has somebody asked who shouts."""
    return next(choice for choice in choices if "shout" in choice)


@agent
async def discuss(text: str, step: StepContext) -> str:
    """Asks two others at once, and puts together what they say."""
    sorted_, loud = await asyncio.gather(step.ask("nouns", text), step.ask("shout", text))
    return f"{loud} ({sorted_['option']})"


@agent(effects="pure")
def poet(text: str, instructions: str | None) -> str:
    """Writes a line, and tells how it was told to."""
    return text if instructions is None else f"{text} ({' '.join(instructions.split())})"


@agent
async def conductor(text: str, step: StepContext, team: tuple[AgentSpec, ...]) -> list[Any]:
    """Has all members of its team do the task."""
    return list(await asyncio.gather(*(step.ask(one, text) for one in team)))


@agent(effects="pure")
def staffing(text: str) -> list[AgentSpec]:
    """Says who works on a task: a poet for each word of it."""
    return [AgentSpec(base="poet", name=f"{word}_{n}") for n, word in enumerate(text.split())]


@agent
def lead(split: dict[str, Any]) -> str:
    """The supervisor: of the ballots of a split vote, the most confident one."""
    return str(max(split["ballots"], key=lambda b: b["confidence"] or 0)["option"])


@agent
def by_price(_: Any) -> list[str]:
    """Ranks the carriers by price."""
    return ["post", "bike", "courier"]


@agent
def by_speed(_: Any) -> list[str]:
    """Ranks the carriers by speed."""
    return ["courier", "bike", "post"]


@agent
def by_climate(_: Any) -> list[str]:
    """Ranks the carriers by what they burn."""
    return ["bike", "post", "courier"]


# ---------------------------------------------------------------- values to gather


@agent
def quote_post(_: Any) -> float:
    """The post's price for a parcel."""
    return 4.5


@agent
def quote_bike(_: Any) -> float:
    """The bike messenger's price for a parcel."""
    return 6.0


@agent
def quote_courier(_: Any) -> float:
    """The courier's price for a parcel."""
    return 12.0


@agent
def brief(text: str) -> str:
    """Drafts a short reply."""
    return f"We look into it: {text}"


@agent
def warm(text: str) -> str:
    """Drafts a friendly reply."""
    return f"Thank you for writing to us. We look into it at once: {text}"


@agent
def judge(asked: dict[str, Any]) -> dict[str, float]:
    """Scores drafts: longer ones please more."""
    return {c["member"]: float(len(c["value"])) for c in asked["candidates"]}


# ---------------------------------------------------------------- flows


@flow(version=1)
async def complaint(run: FlowContext, text: str) -> dict[str, Any]:
    """Sorts a complaint, waits for a person up to three days, and answers."""
    sorted_, loud = await asyncio.gather(run.ask("nouns", text), run.ask("shout", text))
    try:
        approved = await asyncio.wait_for(run.signal("approve"), 3 * 86_400)
    except TimeoutError:
        approved = False
    run.emit(f"complaints/{run.id}", "decided", {"approved": approved})
    return {"topic": sorted_["option"], "said": loud, "approved": approved}


#: Payments above it need two people.
LARGE_CENTS = 10_000


@flow(version=1)
async def goodwill(run: FlowContext, cents: int) -> str:
    """Has a person agree to a payment, and another one to a large one."""
    first = await run.approval({"pay cents": cents}, by=["*@*", "jwt:*"])
    if first and cents > LARGE_CENTS:
        first = await run.approval({"pay cents": cents, "agreed": first.by}, by=["jwt:boss@*"])
    return f"paid: {cents}" if first else f"not paid: {first.reason}"


# ---------------------------------------------------------------- events

#: What was paid for each order. A real one is a table of yours, in the journal's database or not.
PAID: dict[str, int] = {}


@reducer(every=50)
def balance(state: int | None, entry: StreamEntry) -> int:
    """The sum of what was paid for an order, less what was given back."""
    cents = int(str(entry.data.get("cents", 0)))
    return (state or 0) + (cents if entry.kind == "paid" else -cents)


@projection("order/*", kind="paid", reset=PAID.clear)
def takings(entry: StreamEntry) -> None:
    """Adds up what was paid, by order."""
    PAID[entry.stream] = PAID.get(entry.stream, 0) + int(str(entry.data.get("cents", 0)))


# ---------------------------------------------------------------- actors


@actor
class Cart:
    """Things that somebody is about to buy."""

    items: list[Any] = []  # noqa: RUF012 - each cart has its own

    async def add(self, me: ActorContext, item: str) -> int:
        """Takes a thing in, and looks after it in a day."""
        self.items.append(item)
        me.remind(86_400, "remind", key="unpaid")
        return len(self.items)

    async def pay(self, me: ActorContext) -> list[Any]:
        """Empties it, and has the stock send its things."""
        sold, self.items = self.items, []
        for item in sold:
            me.actor("Shelf", item).tell("take")
        me.emit(f"carts/{me.key}", "paid", {"items": sold})
        me.forget("unpaid")
        return sold

    async def remind(self, me: ActorContext) -> None:
        """Has an agent say what is left in it."""
        said = await me.ask("shout", f"still there: {', '.join(self.items)}")
        me.emit(f"carts/{me.key}", "reminded", {"said": said})


@actor
class Shelf:
    """How many of one thing there are."""

    left: int = 10

    async def take(self, me: ActorContext) -> int:  # noqa: ARG002 - each method has it
        """Takes one."""
        self.left -= 1
        return self.left
