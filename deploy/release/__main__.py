"""``./run release``: builds what is published, twice, and says what stands against it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from deploy.local.state import ROOT
from deploy.release import building, licences, materials, versions

SBOM, SUMS = building.SBOM, building.SUMS


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    made = argparse.ArgumentParser(prog="./run release", description=__doc__)
    made.add_argument("--out", type=Path, default=ROOT / ".local" / "release", metavar="FOLDER")
    made.add_argument(
        "--set", metavar="VERSION", help="write this version, and the changelog's date; then end"
    )
    made.add_argument(
        "--draft",
        action="store_true",
        help="build although files are uncommitted, or the changelog has no date for the version",
    )
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Set a version, or build: 0 when it may be published."""
    options = parser().parse_args(argv)
    if options.set:
        print(*versions.set_to(ROOT, options.set), sep="\n")
        return 0
    found = [*building.uncommitted(ROOT), *versions.undated(ROOT)]
    against = [*versions.disagreements(ROOT), *([] if options.draft else found)]
    bom = materials.of(ROOT, building.epoch(ROOT))
    against += licences.refused(materials.named(bom))
    if against:
        print(*(f"release: {line}" for line in against), sep="\n", file=sys.stderr)
        return 1
    publish(options.out, bom)
    return 0


def publish(out: Path, bom: dict[str, object]) -> None:
    """Write the two artefacts, their sums and the bill of materials."""
    sums = building.build_twice(ROOT, out)
    (out / SBOM).write_text(materials.text(bom, sums), encoding="utf-8")
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items()))
    (out / SUMS).write_text(lines, encoding="utf-8")
    print(lines, end="")
    print(f"built twice, the same bytes; with {SBOM} and {SUMS} in {out}")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (building.BuildError, materials.NoLockError) as error:
        sys.exit(f"release: {error}")
