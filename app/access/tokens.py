"""Tokens (JWT): signed by us or by an identity provider; nothing of them is kept but a hash."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import jwt

from app.access.permissions import Permission, Principal, Role
from app.settings import Settings
from celery_agents.errors import ConfigurationError
from celery_agents.noted import noting

log = logging.getLogger(__name__)

#: Algorithms of keys that both sides have, and of public ones: which a token names decides among
#: which keys its own is looked for, so that no public key is taken for a shared one.
SHARED = ("HS256", "HS384", "HS512")
PUBLIC = ("RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA")
#: Seconds that clocks may differ, and between two looks at the set of public keys: for so long a
#: token may still hold whose key has left it, and may one not hold yet whose key is new.
LEEWAY_S, KNOWN_S = 30.0, 30.0
#: Errors of reading a set: no answer, or one that is no set.
_UNREADABLE = (OSError, ValueError, jwt.PyJWTError, KeyError, TypeError, AttributeError)
_SECRET_MIN, _SET_MAX, _TOKENS_MAX = 32, 1_000_000, 10_000
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}


class AccessTokens:
    """Signs tokens, and checks them.

    Raises:
        ConfigurationError: a key is too short, or the address of public ones is not safe.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._secrets = [key.get_secret_value() for key in settings.jwt_keys]
        if any(len(secret.encode()) < _SECRET_MIN for secret in self._secrets):
            raise ConfigurationError(f"AGENTS_JWT_KEYS: each has {_SECRET_MIN} bytes or more.")
        self._url = _checked(settings.jwks_url)
        self._keys: dict[str | None, Any] = {}
        self._asked_at = -KNOWN_S
        self._fetching = asyncio.Lock()
        self._verified: OrderedDict[bytes, tuple[float, Principal]] = OrderedDict()

    def sign(self, claims: Mapping[str, Any], lasts_s: float) -> str:
        """A token that holds for so many seconds.

        Raises:
            ConfigurationError: there is no key to sign with, or it would hold for too long.
        """
        if not self._secrets:
            raise ConfigurationError("AGENTS_JWT_KEYS is not set: there is no key to sign with.")
        if lasts_s > self._settings.jwt_max_age_s:
            raise ConfigurationError(
                f"A token holds for {self._settings.jwt_max_age_s:g} s at the most "
                "(AGENTS_JWT_MAX_AGE_S)."
            )
        now = int(time.time())
        about = {"iss": self._settings.jwt_issuer, "aud": self._settings.jwt_audience}
        times = {"iat": now, "exp": now + int(lasts_s)}
        return jwt.encode({**claims, **about, **times}, self._secrets[0], "HS256")

    async def check(self, token: str) -> Principal | None:
        """Return the principal of this token; None when it is none that holds."""
        await self._renew()
        name = hashlib.sha256(token.encode()).digest()
        now = time.time()
        ends, known = self._verified.get(name, (0.0, None))
        if known is not None and now < ends:
            return known
        try:
            claims = self._claims(token)
            who = _principal(claims)
            if claims["exp"] - claims["iat"] > self._settings.jwt_max_age_s:
                return None
        except (jwt.PyJWTError, ValueError, TypeError, KeyError, RecursionError) as error:
            log.debug("A token was refused: %s", type(error).__name__)
            return None
        self._verified[name] = (claims["exp"], who)
        while len(self._verified) > _TOKENS_MAX:
            self._verified.popitem(last=False)
        return who

    def _claims(self, token: str) -> dict[str, Any]:
        header = jwt.get_unverified_header(token)
        algorithm = header.get("alg")
        if algorithm in SHARED:
            keys: list[Any] = list(self._secrets)
        elif algorithm in PUBLIC and self._url is not None:
            keys = self._public(header.get("kid"))
        else:
            keys = []
        refused: Exception = jwt.InvalidKeyError("there is no key of that name")
        for key in keys:
            try:
                found: dict[str, Any] = jwt.decode(
                    token,
                    key,
                    [str(algorithm)],
                    audience=self._settings.jwt_audience,
                    issuer=self._settings.jwt_issuer,
                    leeway=LEEWAY_S,
                    options={"require": ["exp", "iat", "sub", "iss", "aud"]},
                )
            except jwt.InvalidSignatureError as error:
                refused = error  # it may be of the key before
            else:
                return found
        raise refused

    def _public(self, name: str | None) -> list[Any]:
        """The public key of that name; of a set of one, that."""
        if name is None and len(self._keys) == 1:
            return [*self._keys.values()]
        return [self._keys[name]] if name in self._keys else []

    async def _renew(self) -> None:
        """Read the set of public keys again where it is old; while that fails the known ones stay.

        All tokens are looked at anew by another set: one's key may have left it.
        """
        if self._url is None or time.monotonic() < self._asked_at + KNOWN_S:
            return
        async with self._fetching:
            if time.monotonic() < self._asked_at + KNOWN_S:
                return
            text = "The public keys of tokens could not be read; those known are used"
            with noting(log, "jwks", text, *_UNREADABLE):
                self._keys = await asyncio.to_thread(_fetch, self._url)
                self._verified.clear()
            self._asked_at = time.monotonic()


def _principal(claims: Mapping[str, Any]) -> Principal:
    """Return the principal that the claims of a token name.

    Raises:
        ValueError, TypeError, KeyError: a claim is not of its form. Nothing is guessed: the letters
            of a text in the place of a list would be patterns, and one of them all agents.
    """
    tenant, agents = claims.get("tenant", ""), claims.get("agents")
    if not isinstance(tenant, str):
        raise TypeError("tenant is a text")
    if agents is not None and not _are_texts(agents):
        raise TypeError("agents is a list of texts")
    permissions = claims.get("permissions", [])
    if not _are_texts(permissions):
        raise TypeError("permissions is a list of texts")
    return Principal(
        id=f"jwt:{str(claims['sub'])[:100]}",
        role=Role(claims["role"]),
        tenant=None if tenant == "*" else tenant,
        agents=None if agents is None else tuple(agents),
        permissions=frozenset(map(Permission, permissions)),
        requests_per_s=_count(claims.get("requests_per_s")),
        runs_per_s=_count(claims.get("runs_per_s")),
        ends_at=float(claims["exp"]),
    )


def _are_texts(told: Any) -> bool:
    return isinstance(told, list) and all(isinstance(one, str) for one in told)


def _count(value: Any) -> int | None:
    return None if value is None else int(value)


def _checked(url: str | None) -> str | None:
    if url is None or "://" not in url:
        return url
    read = urlsplit(url)
    if read.scheme == "https" or (read.scheme == "http" and read.hostname in _LOOPBACK):
        return url
    raise ConfigurationError("AGENTS_JWKS_URL is an https:// address, or a file.")


def _fetch(place: str) -> dict[str | None, Any]:
    """Public keys by their names."""
    if "://" in place:
        with urlopen(place, timeout=5) as found:  # noqa: S310 - _checked says which
            raw = found.read(_SET_MAX)
    else:
        raw = Path(place).read_bytes()
    told = json.loads(raw)
    keys = [key for key in told["keys"] if key.get("kty") != "oct"]  # a shared one is no public one
    return {key.key_id: key.key for key in jwt.PyJWKSet.from_dict({"keys": keys}).keys}
