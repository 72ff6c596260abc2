"""Values that nobody reads without a key: what agents are asked and answer, on its way and at rest.

A sealed value is ``{"$enc": "<id of its key>:<token>"}``, a token of Fernet (AES-128-CBC with
HMAC-SHA256, https://github.com/fernet/spec). A value of somebody's that looks like one is written
as ``{"$enc": [<what stands there>]}`` where there are no keys, so that neither is taken for the
other. Fernet has no associated data, so what is encrypted
says where it belongs: a step, and a field of it. Moved elsewhere it cannot be opened.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from celery_agents import names
from celery_agents.errors import ConfigurationError, UnreadableValueError

if TYPE_CHECKING:
    from celery_agents.contracts.outcome import Outcome

T = TypeVar("T")
Payload = dict[str, Any]  # {"args": […], "kwargs": {…}}

#: Settings: keys, separated by commas, and a file with one a line. The first one seals.
KEYS, KEYS_FILE = "AGENTS_FERNET_KEYS", "AGENTS_FERNET_KEYS_FILE"
#: The key under which a sealed value stands, and the fields of a step that are sealed.
MARK = "$enc"
PAYLOAD, VALUE, RESULT, EVENT = "payload", "value", "result", "event"
EXCHANGE, SUMMARY = "exchange", "summary"
#: Where what a canvas holds belongs: its links have no ids yet.
CANVAS = ""
#: Options that stay readable: the journal decides by them, people find runs by them, and none of
#: them holds what an agent is told. Whatever is not named here is sealed.
CLEAR = frozenset(
    {
        *("agent", "stream", "retry", "timeout_s", "deadline_s"),
        *("max_depth", "max_width", "max_steps", "max_handoffs", "max_cost", "budget"),
        *("session", "window_tokens", "reset_active", "when_open", "cache", "similarity"),
    }
)
#: A token in a text of JSON, wherever it stands, also in JSON within a text of it.
TOKEN = re.compile(r'(\$enc\\*":\s?\\*")([0-9a-f]{8}):([A-Za-z0-9_=-]+)')


#: What stands in a sealed value, though somebody may have changed its token.
_SEALED = re.compile(r"[0-9a-f]{8}:.*", re.DOTALL)


class Seals:
    """Seals with the first key, opens with all of them.

    Raises:
        ConfigurationError: a key is none, or the package ``cryptography`` is not installed.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        try:
            from cryptography.fernet import Fernet
        except ImportError as error:
            raise ConfigurationError(
                f"{KEYS}: to encrypt, install celery-agents[crypto]."
            ) from error
        self._ids = [key_id(key) for key in keys]
        try:
            made = [Fernet(_exact(key)) for key in keys]
        except ValueError:
            raise ConfigurationError(
                f"{KEYS}: a key is 32 random bytes in URL-safe base64 (44 characters); one of them "
                f"is not. `{names.COMMAND} encryption key` makes one."
            ) from None
        self._keys = dict(zip(self._ids, made, strict=True))
        self._marks = [hmac_key(key) for key in keys]

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the keys, the one that seals first."""
        return tuple(self._ids)

    def seal(self, value: Any, place: str, field: str) -> dict[str, str]:
        """Seal a value of this step (or other place) and field."""
        told = json.dumps([place, field, value], ensure_ascii=False, separators=(",", ":"))
        data = told.encode("utf-8", "surrogatepass")
        return {MARK: f"{self._ids[0]}:{self._keys[self._ids[0]].encrypt(data).decode()}"}

    def open(self, value: Any, place: str, field: str) -> Any:
        """Open a value of this place and field; one that is not sealed stays as it is.

        Raises:
            UnreadableValueError: its key is missing, it was changed, or it belongs elsewhere.
        """
        if not is_sealed(value):
            return plain_of(value)
        return self._opened(value[MARK], place, field)

    def _opened(self, sealed: Any, place: str, field: str) -> Any:
        if not isinstance(sealed, str):
            raise UnreadableValueError(f"{MARK} holds no text: it was not encrypted here.")
        data = self._data(*_parts(sealed))
        at, of, value = json.loads(data.decode("utf-8", "surrogatepass"))
        if (at, of) != (place, field):
            raise UnreadableValueError(
                f"An encrypted value stands where it does not belong ({field} of {place or 'none'})"
                ": somebody has moved it."
            )
        return value

    def _data(self, key: str, token: str) -> bytes:
        from cryptography.fernet import InvalidToken

        if (fernet := self._keys.get(key)) is None:
            raise missing(key)
        try:
            return fernet.decrypt(token.encode())
        except (InvalidToken, UnicodeEncodeError):
            raise UnreadableValueError(
                f"A value that was encrypted with the key {key} was changed since."
            ) from None

    def renewed(self, text: str) -> tuple[str, int]:
        """A text with the tokens of older keys replaced by those of the first one, and how many.

        What cannot be opened stays as it is. What is encrypted stays the same, with its place.
        """
        count = 0

        def renew(found: re.Match[str]) -> str:
            nonlocal count
            before, key, token = found.groups()
            if key == self._ids[0] or key not in self._keys:
                return found[0]
            try:
                data = self._data(key, token)
            except UnreadableValueError:
                return found[0]
            count += 1
            return f"{before}{self._ids[0]}:{self._keys[self._ids[0]].encrypt(data).decode()}"

        return TOKEN.sub(renew, text), count

    # -- payloads and outcomes

    def seal_payload(self, payload: Mapping[str, Any], place: str) -> Payload:
        """Seal the input and the options of a step but for :data:`CLEAR`, as one value."""
        kwargs = payload.get("kwargs", {})
        if MARK in kwargs:  # it is already
            return dict(payload)
        hidden = {name: value for name, value in kwargs.items() if name not in CLEAR}
        told = [list(payload.get("args", ())), hidden]
        sealed = self.seal(told, place, PAYLOAD)
        return {**payload, "args": [], "kwargs": {**clear_of(kwargs), **sealed}}

    def open_payload(self, payload: Mapping[str, Any], *places: str) -> Payload:
        """Open a payload that belongs to one of these places. Raises as :meth:`open`."""
        kwargs = payload.get("kwargs", {})
        if not isinstance(kwargs, dict) or MARK not in kwargs:
            return dict(payload)
        clear = {name: value for name, value in kwargs.items() if name != MARK}
        for place in places[:-1]:
            try:
                args, hidden = self._opened(kwargs[MARK], place, PAYLOAD)
                break
            except UnreadableValueError:
                continue
        else:
            args, hidden = self._opened(kwargs[MARK], places[-1], PAYLOAD)
        # What comes in front of the arguments is added by whoever sends what follows a step.
        return {**payload, "args": [*payload.get("args", ()), *args], "kwargs": {**clear, **hidden}}

    def seal_outcome(self, outcome: Outcome, place: str) -> Outcome:
        """An outcome whose value is sealed, with what was said on the way to it."""
        if outcome.value is None and not outcome.turns:
            return outcome
        turns = [turn.compact() for turn in outcome.turns]
        value = self.seal([outcome.value, turns], place, VALUE)
        return outcome.model_copy(update={"value": value, "turns": ()})

    def mark(self, text: str) -> str:
        """A digest that tells texts apart for those who have the key, and nobody else."""
        return self.marks(text)[0]

    def marks(self, text: str) -> list[str]:
        """The digests of a text under each key, the first one first."""
        data = text.encode("utf-8", "surrogatepass")
        return [hmac.new(key, data, hashlib.sha256).hexdigest()[:32] for key in self._marks]


def clear_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that stay readable."""
    return {name: value for name, value in options.items() if name in CLEAR}


def is_sealed(value: Any) -> bool:
    """Return whether a value is a sealed one."""
    if not (_is_marked(value) and isinstance(value[MARK], str)):
        return False
    return _SEALED.fullmatch(value[MARK]) is not None


def escaped(value: Any) -> Any:
    """Return a value that is not sealed as it is written: somebody's may look like a sealed one."""
    return {MARK: [value[MARK]]} if _is_marked(value) else value


def plain_of(value: Any) -> Any:
    """Return a value that was written by :func:`escaped`."""
    told = value[MARK] if _is_marked(value) else None
    return {MARK: told[0]} if isinstance(told, list) and len(told) == 1 else value


def sealed_value(seals: Seals | None, value: Any, place: str, field: str) -> Any:
    """Return a value as it is written, with the keys that there are."""
    return escaped(value) if seals is None else seals.seal(value, place, field)


def sealed_outcome(seals: Seals | None, outcome: Outcome, place: str) -> Outcome:
    """Return an outcome as it is written, with the keys that there are."""
    if seals is not None:
        return seals.seal_outcome(outcome, place)
    if not _is_marked(outcome.value):
        return outcome
    return outcome.model_copy(update={"value": escaped(outcome.value)})


def _is_marked(value: Any) -> bool:
    return isinstance(value, dict) and len(value) == 1 and MARK in value


def opened(seals: Seals | None, value: Any, place: str, field: str) -> Any:
    """Open a value for work, with the keys that there are. Raises as :meth:`Seals.open`."""
    if not is_sealed(value):
        return plain_of(value)
    if seals is None:
        raise missing(_parts(value[MARK])[0])
    return seals.open(value, place, field)


def opened_payload(seals: Seals | None, payload: Mapping[str, Any], *places: str) -> Payload:
    """Open a payload for work. Raises as :meth:`Seals.open`."""
    if seals is not None:
        return seals.open_payload(payload, *places)
    kwargs = payload.get("kwargs")
    if isinstance(kwargs, dict) and isinstance(kwargs.get(MARK), str):
        raise missing(_parts(kwargs[MARK])[0])
    return dict(payload)


def opened_outcome(seals: Seals | None, outcome: dict[str, Any], place: str) -> dict[str, Any]:
    """Open the outcome of a step for work. Raises as :meth:`Seals.open`."""
    if not is_sealed(sealed := outcome.get("value")):
        return {**outcome, "value": plain_of(sealed)} if _is_marked(sealed) else outcome
    value, turns = opened(seals, sealed, place, VALUE)
    told = {**outcome, "value": value}
    return {**told, "turns": turns} if turns else told


def shown_outcome(seals: Seals | None, outcome: dict[str, Any], place: str) -> dict[str, Any]:
    """Open an outcome for whoever reads many; one that cannot be opened is a failed one."""
    try:
        return opened_outcome(seals, outcome, place)
    except UnreadableValueError as error:
        told = {n: v for n, v in outcome.items() if n not in ("value", "compensation")}
        why = {"kind": error.kind, "message": error.message, "type": type(error).__name__}
        return {**told, "state": "failed", "error": why}


def shown_value(seals: Seals | None, outcome: Mapping[str, Any] | None, place: str) -> Any:
    """The value of an outcome for people; in place of one that cannot be opened stands why."""
    told = dict(outcome or {})
    return readable(lambda: opened_outcome(seals, told, place).get("value"))


def shown(seals: Seals | None, value: Any, place: str, field: str) -> Any:
    """Open a value for people; in place of one that cannot be opened stands why."""
    return readable(lambda: opened(seals, value, place, field))


def readable(read: Callable[[], T]) -> T | str:
    """Read something for people; in place of what cannot be opened stands why."""
    try:
        return read()
    except UnreadableValueError as error:
        return f"(unreadable: {error.message})"


def missing(key: str) -> UnreadableValueError:
    """The error for a value whose key is not there."""
    return UnreadableValueError(
        f"A value is encrypted with the key {key}, which is not among {KEYS} here."
    )


def _parts(sealed: str) -> tuple[str, str]:
    key, _, token = sealed.partition(":")
    return key[:8], token


def key_id(key: str) -> str:
    """The name of a key, which tells nothing of it."""
    return hashlib.sha256(b"celery-agents key id\0" + key.encode()).hexdigest()[:8]


def _exact(key: str) -> bytes:
    """A key as bytes; one that Base64 reads all the same would have another id elsewhere."""
    raw = key.encode()
    if base64.urlsafe_b64encode(base64.urlsafe_b64decode(raw)) != raw:
        raise ValueError(KEYS)
    return raw


def hmac_key(key: str) -> bytes:
    """A key for digests, made of one for tokens."""
    return hashlib.sha256(b"celery-agents digests\0" + key.encode()).digest()


def keys_in(text: str) -> list[str]:
    """The keys in a text, separated by commas or line ends."""
    return [key.strip() for key in re.split(r"[,\n]", text) if key.strip()]


def read_keys(environ: Mapping[str, str] = os.environ) -> list[str]:
    """The keys of the environment, none where it has none.

    Raises:
        ConfigurationError: the file that it names cannot be read.
    """
    found = keys_in(environ.get(KEYS) or "")
    return [*found, *read_keys_file(environ.get(KEYS_FILE) or None)]


def read_keys_file(path: str | Path | None) -> list[str]:
    """The keys of a file; none of no file. Raises as :func:`read_keys`."""
    if path is None:
        return []
    try:
        return keys_in(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{KEYS_FILE} cannot be read: {error}") from None


def seals_of(keys: Sequence[str]) -> Seals | None:
    """The seals of these keys; None of none: then nothing is sealed."""
    return Seals(keys) if keys else None
