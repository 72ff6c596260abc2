"""``./run chaos``: all scenarios, or those that are named."""

from __future__ import annotations

import argparse
import signal
import sys
from collections import Counter
from collections.abc import Sequence

from tests.chaos import scenarios
from tests.chaos.scenario import SCENARIOS, run_scenario
from tests.chaos.stand import Options


def main(argv: Sequence[str]) -> int:
    """Run them, one line each; 0 when none failed."""
    assert scenarios  # imported for what it registers
    parser = _parser()
    given = vars(parser.parse_args(argv))
    names = given.pop("only") or list(SCENARIOS)
    options = Options(**given)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # servers and workers end with us
    print(
        f"chaos: {options.steps} steps, {options.kills} kills, {options.wipes} wipes, "
        f"seed {options.seed}, {options.journal}, {options.pool}"
        f"{', each without its protection' if options.sabotage else ''}",
        flush=True,
    )
    verdicts: Counter[str] = Counter()
    for name in names:
        result = run_scenario(SCENARIOS[name], options)
        verdicts[result.verdict] += 1
        print(result, flush=True)
    if verdicts["skipped"]:
        print(f"{verdicts['skipped']} skipped")
    print(f"{verdicts['passed']} passed, {verdicts['failed']} failed")
    return 1 if verdicts["failed"] else 0


def _parser() -> argparse.ArgumentParser:
    defaults = Options()
    parser = argparse.ArgumentParser("./run chaos", description=main.__doc__)
    parser.add_argument("--steps", type=_positive, default=defaults.steps, help="of the load")
    parser.add_argument("--kills", type=_positive, default=defaults.kills, help="by SIGKILL")
    parser.add_argument("--wipes", type=int, default=defaults.wipes, help="of Redis")
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--journal", choices=["sqlite", "postgres"], default=defaults.journal)
    parser.add_argument(
        "--pool", choices=["coroutines", "threads", "prefork"], default=defaults.pool
    )
    parser.add_argument("--brief", action="store_true", help="fewer rounds, as in ./run test")
    parser.add_argument(
        "--sabotage", action="store_true", help="take away what each shows, and see that it fails"
    )
    parser.add_argument(
        "--only", action="append", choices=list(SCENARIOS), metavar="NAME", help="may be repeated"
    )
    return parser


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
