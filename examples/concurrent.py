"""Many questions from one asyncio program: nothing blocks while runs are awaited.

It prints:

    delivery 67%
    refund 100%
    account 100%
"""

from __future__ import annotations

import asyncio

from celery_agents import Client

MESSAGES = ["My parcel did not arrive.", "I paid twice!", "I cannot log in with my password."]


async def main() -> None:
    """Enqueue all of them in one write, then await them together."""
    async with Client() as agents:
        # stop="none": all are heard, where two of three would have been enough.
        runs = await agents.vote.aio_many(["nouns", "verbs", "tone"], MESSAGES, stop="none")
        for decision in await asyncio.gather(*runs):
            print(decision.option, f"{decision.consensus:.0%}")


asyncio.run(main())
