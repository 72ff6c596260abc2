"""The audit: acts a second that processes write down in one chain, each waiting for each."""

from __future__ import annotations

import json
import multiprocessing
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.synchronize import Barrier

from app.journal.schema.engine import connect
from app.journal.stores.audit import AuditLog
from app.journal.tables.audit import Act
from bench.journals import journals

#: As many requests at once as an API has under way, in each of as many processes.
PROCESSES, THREADS, ACTS, SOON_S = 4, 64, 2_500, 300.0


def main() -> None:
    """Print both databases' figures, and whether the chain holds."""
    for name, url in journals():
        print(json.dumps({"bench": "audited", "database": name, **_written(url)}), flush=True)


def _written(url: str) -> dict[str, float]:
    spawn = multiprocessing.get_context("spawn")
    together = spawn.Barrier(PROCESSES + 1)
    processes = [spawn.Process(target=_write, args=(url, together)) for _ in range(PROCESSES)]
    for process in processes:
        process.start()
    together.wait(SOON_S)
    began = time.monotonic()
    together.wait(SOON_S)
    took_s = time.monotonic() - began
    for process in processes:
        process.join()
    engine = connect(url)
    broken = [*AuditLog(engine).verify()]
    engine.dispose()
    return {"acts_per_s": round(PROCESSES * ACTS / took_s), "broken": len(broken)}


def _write(url: str, together: Barrier) -> None:
    engine = connect(url)
    audit = AuditLog(engine)
    acts = [Act("key:bench", "tasks.create", f"run-{n}", "acme", {"n": n}) for n in range(ACTS)]
    with ThreadPoolExecutor(THREADS) as threads:
        audit.record(acts[0])
        together.wait(SOON_S)
        for _ in threads.map(audit.record, acts[1:]):
            pass
    together.wait(SOON_S)
    audit.close()
    engine.dispose()
