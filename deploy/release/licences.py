"""Licences of all that a release may bring with it, against those that are allowed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution

_NOTICE = "permissive: keep its notice where copies are handed on, which package and image do"
_DEDICATED = "asks for nothing"
_FILES = "binds changes to its own files; they are used as they are"
#: SPDX identifiers that may be in what users install, each with its reason.
ALLOWED = {
    "0BSD": _DEDICATED,
    "Apache-2.0": _NOTICE,
    "BSD-2-Clause": _NOTICE,
    "BSD-3-Clause": _NOTICE,
    "CC0-1.0": _DEDICATED,
    "CNRI-Python": _NOTICE,
    "ISC": _NOTICE,
    "LGPL-3.0-or-later": "a library of its own that is imported, unchanged, and can be replaced",
    "MIT": _NOTICE,
    "MIT-0": _DEDICATED,
    "MPL-2.0": _FILES,
    "PSF-2.0": _NOTICE,
    "Zlib": _NOTICE,
}
#: Words of metadata that are older than SPDX expressions.
_WORDS = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "LGPL with exceptions": "LGPL-3.0-or-later",
    "MIT License": "MIT",
    "New BSD": "BSD-3-Clause",
    "PSF": "PSF-2.0",
    "PSFL": "PSF-2.0",
}
#: Packages whose metadata says too little, or what their licence's text does not.
READ = {
    "langdetect": "Apache-2.0",
    "python-dateutil": "Apache-2.0 AND BSD-3-Clause",
}
#: Packages of other systems and Pythons than a checkout's, or of no environment of a checkout.
ELSEWHERE = {
    "async-timeout": "Apache-2.0",
    "fasttext-predict-v2": "MIT",
    "filelock": "MIT",
    "fsspec": "BSD-3-Clause",
    "hf-xet": "Apache-2.0",
    "httpx2-jsfetch": "BSD-3-Clause",
    "huggingface-hub": "Apache-2.0",
    "openai-agents": "MIT",
    "pywin32": "PSF-2.0",
    "safetensors": "Apache-2.0",
    "tokenizers": "Apache-2.0",
    "toml": "MIT",
    "tzdata": "Apache-2.0",
    "wordllama": "MIT",
}
_TOKEN = re.compile(r"\(|\)|[^\s()]+")


def of(package: str) -> str | None:
    """Return the SPDX expression of an installed package; None when nothing is known of it."""
    if package in READ:
        return READ[package]
    try:
        metadata = distribution(package).metadata
    except PackageNotFoundError:
        return ELSEWHERE.get(package)
    for expression in metadata.get_all("License-Expression", []):
        return str(expression)
    classified = [
        line.rpartition(" :: ")[2]
        for line in metadata.get_all("Classifier", [])
        if line.startswith("License ::")
    ]
    told: list[str] = [*metadata.get_all("License", []), *classified]
    for words in told:
        if words in _WORDS:
            return _WORDS[words]
        if _is_expression(words):
            return words
    return None


def allows(expression: str) -> bool:
    """Tell whether one side of each OR, and both of each AND, are allowed."""
    return _Reader(_TOKEN.findall(expression)).alternatives()


def refused(packages: Iterable[str]) -> list[str]:
    """Return a line for each package that must not be part of a release."""
    lines = []
    for package in sorted(set(packages)):
        expression = of(package)
        if expression is None:
            lines.append(f"{package}: no licence is known; read it, and note it in licences.py")
        elif not allows(expression):
            lines.append(f"{package}: {expression} is not allowed")
    return lines


def _is_expression(words: str) -> bool:
    named = [t for t in _TOKEN.findall(words) if t not in {"(", ")", "AND", "OR", "WITH"}]
    return bool(named) and all(t in ALLOWED for t in named)


class _Reader:
    """SPDX expressions by descent: OR binds less than AND."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens

    def alternatives(self) -> bool:
        good = self._all()
        while self._next() == "OR":
            self._tokens.pop(0)
            good = self._all() or good
        return good

    def _all(self) -> bool:
        good = self._one()
        while self._next() == "AND":
            self._tokens.pop(0)
            good = self._one() and good
        return good

    def _one(self) -> bool:
        word = self._tokens.pop(0) if self._tokens else ""
        if word == "(":
            good = self.alternatives()
            return bool(self._tokens) and self._tokens.pop(0) == ")" and good
        if self._next() == "WITH":  # an exception allows more than its licence does
            del self._tokens[:2]
        return word in ALLOWED

    def _next(self) -> str:
        return self._tokens[0] if self._tokens else ""
