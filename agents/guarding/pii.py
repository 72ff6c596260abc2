"""Data of persons in a text: addresses, and numbers that are held against how they are made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from agents.guarding.addresses import emails, ips, open_email, open_ip
from agents.guarding.finding import Finding
from agents.guarding.numbers import cards, ibans, open_iban, open_number, ssns
from agents.guarding.phones import open_phone, phones, plans
from agents.guarding.plain import signs

Detector = Callable[[str], Iterator[Finding]]
Opening = Callable[[str], int]
_DETECTORS: dict[str, tuple[Detector, Opening]] = {
    "email": (emails, open_email),
    "card": (cards, open_number),
    "iban": (ibans, open_iban),
    "ssn": (ssns, open_number),
    "ip": (ips, open_ip),
}


class PersonalData:
    """Finds data of persons of these kinds; phones without a ``+`` as ``regions`` write theirs.

    Raises:
        ConfigurationError: phones are looked for, and the library for them is not installed.
    """

    def __init__(self, kinds: Iterable[str], regions: Sequence[str] = ()) -> None:
        wanted = {*kinds}
        found = [told for kind, told in _DETECTORS.items() if kind in wanted]
        if "phone" in wanted:
            plans()
            found.append((partial(phones, of=tuple(regions)), open_phone))
        self._detectors = [detector for detector, _ in found]
        self._openings = {opening for _, opening in found}

    def __call__(self, text: str) -> Sequence[Finding]:
        """Find them in a text, those that overlap among them."""
        plain = signs(text)
        return [
            Finding(*plain.span(one.start, one.end), one.kind)
            for detector in self._detectors
            for one in detector(plain.text)
        ]

    def open(self, text: str) -> int:
        """Return from where on what follows may still change what begins there."""
        plain = signs(text)
        at = min((opening(plain.text) for opening in self._openings), default=len(plain.text))
        return plain.place(at, len(text))
