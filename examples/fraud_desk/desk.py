"""The desk's own agents, its tool and its flow.

A payment is an event of a stream ``payments/…``. Each starts one run of :func:`examine`: the panel
votes, the chief decides where it is split, and an officer acts on fraud, with a person's consent.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from celery_agents import CallContext, FlowContext, StepContext, agent, flow, tool

OPTIONS = ["fine", "fraud"]
#: Below it nobody looks at a payment by hand.
SMALL_CENTS = 2_000
#: Above it the rules find a payment odd.
LARGE_CENTS = 50_000


@agent(effects="pure")
def rules(payment: dict[str, Any]) -> dict[str, Any]:
    """Votes by the amount and the country."""
    odd = (payment["cents"] > LARGE_CENTS) + (payment["country"] != payment["home"])
    option = OPTIONS[odd > 0]
    return {"option": option, "confidence": 0.6 + 0.15 * odd, "reason": f"{odd} of 2 rules fit"}


@agent
async def history(_: Any, step: StepContext) -> dict[str, Any]:
    """Votes by what is remembered of the customer."""
    known = await step.memory("customers").recall("card blocked fraud", tokens=300)
    if any("fraud" in one.text for one in known):
        return {"option": "fraud", "confidence": 0.95, "reason": "it was fraud before"}
    return {"option": None, "reason": "nothing is known of this customer"}


@agent(effects="pure")
def chief(split: dict[str, Any]) -> str:
    """Decides where the panel is split: with whoever is surest."""
    return str(max(split["ballots"], key=lambda b: b["confidence"] or 0)["option"])


#: The variable that names the bank's file: a line for each time that it is told to block a card.
LEDGER = "FRAUD_DESK_LEDGER"


def tell_bank(card: str, key: str) -> None:
    """Stand in for the bank, which is not in the worker and outlives it.

    A real one would do nothing for a key that it knows; this one is there to be counted.
    """
    if file := os.environ.get(LEDGER):
        with Path(file).open("a", encoding="utf-8") as ledger:
            ledger.write(json.dumps({"card": card, "key": key}) + "\n")


@tool(effects="effect", approve="ask")
async def block_card(card: str, why: str, call: CallContext) -> str:
    """Blocks a card; a person is asked before."""
    tell_bank(card, call.key)
    return f"{card} is blocked: {why}"


@flow(version=1)
async def examine(run: FlowContext, event: dict[str, Any]) -> dict[str, Any]:
    """Decides about one payment, and has an officer act on fraud."""
    payment = event["data"]
    case = f"cases/{payment['id']}"
    if payment["cents"] < SMALL_CENTS:
        run.emit(case, "decided", {"option": "fine", "by": "amount"})
        return {"payment": payment["id"], "option": "fine", "by": "amount"}
    scope = {"customer": payment["customer"]}
    panel = ["rules", {"agent": "history", "weight": 3}, "analyst"]
    decision = await run.vote(
        panel, payment, choices=OPTIONS, stop="none", escalate="chief", scope=scope
    )
    done = None
    if decision.option == "fraud":
        done = await run.ask("officer", payment, scope=scope, timeout_s=60)
    told = {"option": decision.option, "by": decision.decided_by, "done": done}
    run.emit(case, "decided", told)
    return {"payment": payment["id"], **told}
