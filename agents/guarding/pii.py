"""Data of persons in a text: addresses, and numbers that are held against how they are made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from agents.guarding.addresses import emails, ips
from agents.guarding.finding import Finding, apart
from agents.guarding.numbers import cards, ibans, ssns
from agents.guarding.phones import phones, plans

Detector = Callable[[str], Iterator[Finding]]
_DETECTORS: dict[str, Detector] = {
    "email": emails,
    "card": cards,
    "iban": ibans,
    "ssn": ssns,
    "ip": ips,
}


class PersonalData:
    """Finds data of persons of these kinds; phones without a ``+`` as ``regions`` write theirs.

    Raises:
        ConfigurationError: phones are looked for, and the library for them is not installed.
    """

    def __init__(self, kinds: Iterable[str], regions: Sequence[str] = ()) -> None:
        wanted = {*kinds}
        self._detectors = [found for kind, found in _DETECTORS.items() if kind in wanted]
        if "phone" in wanted:
            plans()
            self._detectors.append(partial(phones, of=tuple(regions)))

    def __call__(self, text: str) -> Sequence[Finding]:
        """Find them in a text; of two in one place the longer one."""
        found = [one for detector in self._detectors for one in detector(text)]
        return apart(found) if len(found) > 1 else found
