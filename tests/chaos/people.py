"""People who answer wishes, as a process beside the workers: ``python -m tests.chaos.people N``.

Several of them answer the same wishes, each as it thinks. What each was told is a line of its file:
key, what it said, and ``taken``, ``late`` (another answer counts) or ``unheard``.
"""

from __future__ import annotations

import os
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from celery_agents import Client
from celery_agents.contracts.approval import Wish
from celery_agents.errors import AgentsError, InvalidPayloadError

#: Name the file, and the seed, in the environment.
SAID_FILE, SEED = "CHAOS_SAID_FILE", "CHAOS_SEED"
#: What they say, and how often of so many times.
WORDS = {"yes": 12, "no": 3, "changed": 4, "mistaken": 1}
#: Of so many answers one is given again, as the same.
_AGAIN = 4
_ANSWERED_S = 15.0
#: Answers that a person gives at a time.
_TOGETHER = 8


def choice_of(word: str, wish: Wish) -> Any:
    """The answer that is meant by a word."""
    asked: Any = wish.arguments
    changed = {"yes": None, "no": None, "changed": {"cents": asked["cents"] + 1}}
    if word in {"yes", "no"}:
        return word == "yes"
    return {"arguments": {**asked, **(changed.get(word) or {"cents": "a few"})}}


def main(number: str) -> None:
    """Answer whatever waits, in random order, until killed."""
    rng = random.Random(f"{os.environ[SEED]}/{number}")
    words: dict[str, str] = {}
    with Client(os.environ["REDIS_URL"]) as client, ThreadPoolExecutor(_TOGETHER) as pool:
        while True:
            try:
                wishes = client.waiting(timeout=_ANSWERED_S)
            except AgentsError:  # nobody heard of it, or Redis is away
                continue
            if not wishes:
                time.sleep(0.1)
            rng.shuffle(wishes)
            for wish in wishes:  # whoever was not heard says the same again
                words.setdefault(wish.key, *rng.choices([*WORDS], [*WORDS.values()]))
            again = rng.sample(wishes, len(wishes) // _AGAIN)
            [*pool.map(lambda wish: _answer(client, wish, words[wish.key]), [*wishes, *again])]


def _answer(client: Client, wish: Wish, word: str) -> None:
    _tell(wish.key, word, _say(client, wish, word))


def _say(client: Client, wish: Wish, word: str) -> str:
    try:
        client.approve(wish.run_id, choice_of(word, wish), key=wish.key, timeout=_ANSWERED_S)
    except InvalidPayloadError:
        return "late"
    except AgentsError:
        return "unheard"
    return "taken"


def _tell(*words: str) -> None:
    with Path(os.environ[SAID_FILE]).open("a", encoding="utf-8") as file:
        file.write(" ".join(words) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
