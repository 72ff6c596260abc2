"""``./run bench [votes|steps]``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from bench import steps, votes

BENCHES: dict[str, Callable[[], None]] = {"votes": votes.main, "steps": steps.main}


def main(argv: Sequence[str]) -> int:
    names = list(argv) or list(BENCHES)
    if unknown := [name for name in names if name not in BENCHES]:
        print(f"There is no bench {unknown[0]!r}. There are: {', '.join(BENCHES)}", file=sys.stderr)
        return 2
    for name in names:
        BENCHES[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
