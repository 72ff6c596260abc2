"""Tools of a team: they write down that they begin, take their time, and have ended."""

import asyncio
import os
import random
import time
from pathlib import Path

URL = os.environ["TEAM_URL"]
#: Seconds that a tool takes.
TAKES_S = (0.3, 0.9)


def tell(*words: str) -> None:
    """Append a line, with the time; a single write of that size is not torn."""
    with Path(os.environ["TEAM_BOOK"]).open("a", encoding="utf-8") as book:
        book.write(" ".join([f"{time.time():.3f}", *words]) + "\n")


async def looked_up(about: str) -> str:
    """Look something up."""
    tell("begins", about)
    await asyncio.sleep(random.uniform(*TAKES_S))
    tell("ended", about)
    return f"{about} is known"
