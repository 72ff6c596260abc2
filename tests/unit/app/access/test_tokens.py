"""AccessTokens: signed by us or by an identity provider, and all the ways in which one is none."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import SecretStr

from app.access.permissions import Principal, Role
from app.access.tokens import KNOWN_S, AccessTokens
from app.settings import Settings
from celery_agents.errors import ConfigurationError

OURS, OLD = "o" * 32, "p" * 32
RSA = rsa.generate_private_key(65537, 2048)
KEYS: dict[str, Any] = {
    "RS256": RSA,
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}


def jwks(path: Path, *names: str) -> str:
    """A file of public keys, each under the name of its algorithm."""
    found = []
    for name in names:
        made = jwt.get_algorithm_by_name(name).to_jwk(KEYS[name].public_key())
        found.append({**json.loads(made), "kid": name, "alg": name})
    path.write_text(json.dumps({"keys": found}))
    return str(path)


def claims(**more: Any) -> dict[str, Any]:
    now = int(time.time())
    told = {
        "sub": "me",
        "role": "user",
        "tenant": "acme",
        "iss": "celery-agents",
        "aud": "celery-agents",
        "iat": now,
        "exp": now + 600,
        **more,
    }
    return {name: value for name, value in told.items() if value is not None}


def tokens(**more: Any) -> AccessTokens:
    return AccessTokens(Settings(jwt_keys=(SecretStr(OURS), SecretStr(OLD)), **more))


def check(made: AccessTokens, token: str) -> Principal | None:
    return asyncio.run(made.check(token))


def test_ours() -> None:
    made = tokens()
    who = check(made, made.sign({"sub": "me", "role": "readonly", "tenant": "*"}, 60))
    assert who is not None
    assert time.time() < (who.ends_at or 0) <= time.time() + 60
    assert replace(who, ends_at=None) == Principal(id="jwt:me", role=Role.READONLY, tenant=None)


def test_an_older_key_verifies_and_a_newer_one_signs() -> None:
    assert check(tokens(), jwt.encode(claims(), OLD, "HS256")) is not None
    signed = tokens().sign(claims(), 60)
    assert jwt.decode(signed, OURS, ["HS256"], audience="celery-agents")["sub"] == "me"


@pytest.mark.parametrize("algorithm", KEYS)
def test_public_keys(tmp_path: Path, algorithm: str) -> None:
    made = tokens(jwks_url=jwks(tmp_path / "keys", *KEYS))
    signed = jwt.encode(claims(), KEYS[algorithm], algorithm, headers={"kid": algorithm})
    who = check(made, signed)
    assert who is not None
    assert (who.tenant, who.role) == ("acme", Role.USER)


#: From when tests are collected: longer than all of them take.
_LONG_S = 86_400


@pytest.mark.parametrize(
    "more",
    [
        *({name: None} for name in ("sub", "role", "iss", "aud", "iat", "exp")),
        {"iss": "somebody"},
        {"aud": "something"},
        {"exp": int(time.time()) - 60},
        {"iat": int(time.time()) + _LONG_S},
        {"nbf": int(time.time()) + _LONG_S},
        {"exp": int(time.time()) + 30 * 86400},
        {"exp": "soon"},
        {"role": "root"},
        {"permissions": ["everything"]},
        {"permissions": "runs:read"},
        {"agents": "gpt*"},  # its letters would be patterns, and one of them all agents
        {"agents": [5]},
        {"agents": {"gpt": True}},
        {"tenant": 5},
    ],
)
def test_claims_that_do_not_hold(more: dict[str, Any]) -> None:
    assert check(tokens(), jwt.encode(claims(**more), OURS, "HS256")) is None


def test_signatures_that_do_not_hold(tmp_path: Path) -> None:
    made = tokens(jwks_url=jwks(tmp_path / "keys", "RS256"))
    public = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    head = jwt.utils.base64url_encode(b'{"alg":"HS256","typ":"JWT","kid":"RS256"}')
    body = jwt.utils.base64url_encode(json.dumps(claims()).encode())
    signing = head + b"." + body
    forged = jwt.get_algorithm_by_name("HS256").sign(signing, public)
    bad = [
        jwt.encode(claims(), "", "none"),
        jwt.encode(claims(), "x" * 32, "HS256"),
        (signing + b"." + jwt.utils.base64url_encode(forged)).decode(),
        jwt.encode(claims(), KEYS["EdDSA"], "EdDSA", headers={"kid": "RS256"}),
        jwt.encode(claims(), RSA, "RS256", headers={"kid": "unknown"}),
        jwt.encode(claims(), RSA, "RS256")[:-8] + "AAAAAAAA",
        *("", "a.b.c", "a" * 5000, "é"),
        f"{jwt.utils.base64url_encode(b'[' * 40_000).decode()}.e30.e30",
    ]
    assert [check(made, token) for token in bad] == [None] * len(bad)
    assert check(tokens(), jwt.encode(claims(), RSA, "RS256")) is None  # no public keys at all


def test_a_new_public_key_is_found_and_unknown_ones_are_asked_for_seldom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "keys"
    made = tokens(jwks_url=jwks(place, "RS256"))
    signed = jwt.encode(claims(), KEYS["ES256"], "ES256", headers={"kid": "ES256"})
    assert check(made, signed) is None
    jwks(place, "RS256", "ES256")
    assert check(made, signed) is None  # too soon: anybody could have the set read
    made._asked_at -= 60
    assert check(made, signed) is not None
    place.unlink()
    made._asked_at -= 1000
    made._verified.clear()
    assert check(made, signed) is not None  # those that are known serve on


@pytest.mark.parametrize("change", ["gone", "another one"])
def test_a_token_ends_with_its_public_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """Also one that was found to hold before, and whose key was replaced under its name."""
    place = tmp_path / "keys"
    made = tokens(jwks_url=jwks(place, "RS256", "ES256"))
    signed = jwt.encode(claims(), RSA, "RS256", headers={"kid": "RS256"})
    ours = made.sign(claims(), 60)
    assert check(made, signed) is not None
    if change == "gone":
        jwks(place, "ES256")
    else:
        monkeypatch.setitem(KEYS, "RS256", rsa.generate_private_key(65537, 2048))
        jwks(place, "RS256", "ES256")
    made._asked_at -= KNOWN_S
    assert check(made, signed) is None
    assert check(made, ours) is not None
    assert KNOWN_S <= 60


@pytest.mark.parametrize("told", ["", "[]", "{}", '{"keys": 1}', '{"keys": [1]}'])
def test_a_set_that_is_none_changes_nothing_and_is_asked_for_seldom(
    tmp_path: Path, told: str
) -> None:
    place = tmp_path / "keys"
    made = tokens(jwks_url=jwks(place, "RS256"))
    signed = jwt.encode(claims(), RSA, "RS256", headers={"kid": "RS256"})
    assert check(made, signed) is not None
    place.write_text(told)
    made._asked_at -= KNOWN_S
    assert check(made, signed) is not None
    jwks(place, "ES256")
    assert check(made, signed) is not None  # not with each request, while it cannot be read


def test_shared_keys_in_a_public_set_are_none(tmp_path: Path) -> None:
    place, secret = tmp_path / "keys", b"s" * 32
    shared = {"kty": "oct", "k": jwt.utils.base64url_encode(secret).decode(), "kid": "x"}
    place.write_text(json.dumps({"keys": [shared]}))
    made = tokens(jwks_url=str(place))
    assert check(made, jwt.encode(claims(), secret, "HS256", headers={"kid": "x"})) is None


@pytest.mark.parametrize("url", ["http://example.org/keys", "ftp://example.org", "file:///x"])
def test_addresses_of_public_keys_that_are_not_safe(url: str) -> None:
    with pytest.raises(ConfigurationError, match="AGENTS_JWKS_URL"):
        tokens(jwks_url=url)


def test_what_cannot_be_signed() -> None:
    with pytest.raises(ConfigurationError, match="32 bytes"):
        AccessTokens(Settings(jwt_keys=(SecretStr("short"),)))
    with pytest.raises(ConfigurationError, match="no key"):
        AccessTokens(Settings()).sign({}, 60)
    with pytest.raises(ConfigurationError, match="at the most"):
        tokens().sign({}, 1e6)
