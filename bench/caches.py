"""Cached answers on published traces: hits of a process's memory, dollars that Redis' share saves.

The traces are those of libCacheSim's sdist, which stays outside of the checkout:

    pip download libcachesim --no-deps --no-binary :all: --dest /tmp
    python -m bench.caches /tmp/libcachesim-*.tar.gz

Zipf's are made here. Dollars are those of log-normal prices, on the server that the launcher finds.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import random
import tarfile
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import mean

from redis import Redis

from agents.caching.local import LocalAnswers
from app.caching import scripts
from app.caching.shared import Found, SharedAnswers, Sought
from deploy.local.servers import ValkeyServer

#: Values of the dollars' trace: so many names, so many requests, of Zipf's exponent, and seed.
NAMES, REQUESTS, EXPONENT, SEED = 50_000, 200_000, 0.9, 3
#: The deviation of the prices' logarithms: a tenth costs 50 times what another tenth does.
SPREAD = 1.5
#: Of the trace of Twitter's cluster 52: the first requests.
FIRST = 600_000
VALUE = "x" * 300
#: Requests in all for each trace, at least.
LONG = 500_000
Hits = Callable[[str], bool]


def zipf(count: int, names: int, exponent: float, seed: int) -> list[str]:
    """Requests for names whose popularity falls with their rank."""
    weights = [*itertools.accumulate(1 / rank**exponent for rank in range(1, names + 1))]
    return [str(n) for n in random.Random(seed).choices(range(names), cum_weights=weights, k=count)]


def scanned(count: int) -> list[str]:
    """Popular requests, of which every second portion is of what nobody asks for again: a map."""
    popular, rng = iter(zipf(count, 5_000, 1.0, 1)), itertools.count()
    portions = itertools.cycle([False, True])
    found: list[str] = []
    while len(found) < count:
        once = next(portions)
        found += (f"once{next(rng)}" if once else next(popular) for _ in range(500))
    return found


def priced() -> tuple[list[str], list[float]]:
    """Popular and rare requests, and what each costs, whether it is popular or not."""
    import numpy as np

    shares = 1 / np.arange(1, NAMES + 1) ** EXPONENT
    asked = np.random.default_rng(1).choice(NAMES, REQUESTS, p=shares / shares.sum())
    prices = np.exp(np.random.default_rng(SEED).normal(0, SPREAD, NAMES))
    return [str(name) for name in asked.tolist()], prices.tolist()


def loop(count: int, names: int) -> list[str]:
    """All names in turn, again and again."""
    return [str(n % names) for n in range(count)]


def traces(sdist: Path) -> Iterator[tuple[str, int, list[str]]]:
    """Traces with their names, and how many answers are kept."""
    with tarfile.open(sdist) as tar:
        for member in tar:
            file = tar.extractfile(member) if "/data/" in member.name else None
            if file is not None and member.name.endswith("cloudPhysicsIO.txt"):
                yield "cloudPhysicsIO", 20_000, file.read().decode().split()
            elif file is not None and member.name.endswith("twitter_cluster52.csv"):
                lines = itertools.islice(io.TextIOWrapper(file), 1, FIRST + 1)
                yield "twitter cluster52", 2_000, [line.split(",")[1] for line in lines]
    yield "zipf 0.8", 500, zipf(100_000, 10_000, 0.8, 1)
    yield "zipf 1.0 with scans", 500, scanned(100_000)
    yield "loop", 400, loop(50_000, 800)


def lru(most: int) -> Hits:
    """The least recently used goes."""
    kept: OrderedDict[str, None] = OrderedDict()

    def hit(key: str) -> bool:
        if key in kept:
            kept.move_to_end(key)
            return True
        kept[key] = None
        if len(kept) > most:
            kept.popitem(last=False)
        return False

    return hit


def local(most: int) -> Hits:
    """A process's memory, as workers have it."""
    answers = LocalAnswers(most)

    def hit(key: str) -> bool:
        if answers.get(key) is not None:
            return True
        answers.put(key, "x", 1, 3600)
        return False

    return hit


def theine(most: int) -> Hits:
    """The library alone."""
    from theine import Cache

    kept = Cache[str, int](most)

    def hit(key: str) -> bool:
        if kept.get(key)[1]:
            return True
        kept.set(key, 1)
        return False

    return hit


def shared(redis: Redis, most: int, prices: Sequence[float]) -> Hits:
    """The cache of all workers, with room for so many answers of one size."""
    redis.flushdb()
    size = len(VALUE) + len("gpt") + scripts.OVERHEAD_BYTES
    answers = SharedAnswers(redis, most_bytes=most * size, lease_s=7)

    def hit(key: str) -> bool:
        asked, price = Sought(key, "gpt", "s"), prices[int(key)]
        if isinstance(answers.look(asked, "count").result(), Found):
            return True
        answers.put(asked, VALUE, ttl_s=3600, price_usd=price, worth_usd=price).result()
        return False

    return hit


def rate(hit: Hits, trace: Sequence[str]) -> float:
    """The share of hits."""
    return 100 * sum(map(hit, trace)) / len(trace)


def saved(hit: Hits, trace: Sequence[str], prices: Sequence[float]) -> float:
    """The share of dollars that hits would have cost."""
    paid = [prices[int(key)] for key in trace]
    return sum(p for p, key in zip(paid, trace, strict=True) if hit(key)) / sum(paid)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("sdist", type=Path)
    sdist = parser.parse_args().sdist
    behind, ahead = [], []
    print(f"{'hits':<22}{'kept':>8}{'LRU':>8}{'ours':>8}{'theine':>8}")
    for name, most, trace in traces(sdist):
        # W-TinyLFU draws lots, and looks after itself in a thread: of short traces the mean.
        times = range(1 + LONG // len(trace))
        told = [mean(rate(make(most), trace) for _ in times) for make in (lru, local, theine)]
        behind.append(told[2] - told[1])
        ahead.append(told[1] - told[0])
        print(f"{name:<22}{most:>8,}" + "".join(f"{one:>8.1f}" for one in told), flush=True)
    trace, prices = priced()
    print(f"\n{'dollars saved':<22}{'LRU':>8}{'ours':>8}")
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        server = ValkeyServer(Path(folder))
        server.start()
        with Redis.from_url(server.url) as redis:
            for most in (500, 3_000):
                both = (lru(most), shared(redis, most, prices))
                told = [saved(hit, trace, prices) for hit in both]
                found[most] = round(told[1], 3)
                print(f"{most:<22,}" + "".join(f"{one:>8.3f}" for one in told), flush=True)
        server.stop()
    summary = {"behind_theine": round(max(behind), 2), "ahead_of_lru": round(min(ahead), 2)}
    print(json.dumps({"bench": "caches", **summary, "dollars": found}))


if __name__ == "__main__":
    main()
