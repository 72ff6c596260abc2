"""Clients of their own at MCP servers: a proof goes to its authorization server, and no other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from agents.net.outside import PrivateHosts
from celery_agents.errors import ProviderUnavailableError
from deploy.local.servers import LOOPBACK
from tests.fakes.oauth_server import OAuthServer, standing
from tests.support.mcp_servers import call, closed, names, on_loop, toolset

GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
KEY = ec.generate_private_key(ec.SECP256R1())
PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.fixture
def server() -> Iterator[OAuthServer]:
    with standing(LOOPBACK) as home:
        yield home


def desk(server: OAuthServer, auth: dict[str, Any], **fields: Any) -> Any:
    about = {"client_id": "us", "issuer": server.issuer, "scope": "read", **auth}
    given: dict[str, Any] = {"secrets": {"S": "our secret", "K": PEM}, "private": PrivateHosts()}
    return toolset(url=f"{server.url}/mcp", auth=about, **{**given, **fields})


@on_loop
async def test_a_secret_is_shown(server: OAuthServer) -> None:
    one = desk(server, {"secret_env": "S"})
    assert await closed(one, call(one, "add", a=1, b=2)) == {"result": 3}
    [(path, form, shown)] = server.forms
    assert (path, shown) == ("/token", "us:our%20secret")
    resource = f"{server.url}/mcp"
    assert form == {"grant_type": "client_credentials", "scope": "read", "resource": resource}


@on_loop
async def test_a_key_signs(server: OAuthServer) -> None:
    one = desk(server, {"key_env": "K"})
    assert await closed(one, call(one, "add", a=1, b=2)) == {"result": 3}
    [(_, form, shown)] = server.forms
    signed = form["client_assertion"]
    told = jwt.decode(signed, KEY.public_key(), ["ES256"], audience=server.issuer)
    assert (told["iss"], told["sub"], form["scope"], shown) == ("us", "us", "read", "")
    assert PEM not in str(server.forms)


@on_loop
async def test_a_workloads_token_is_read_each_time(server: OAuthServer, tmp_path: Path) -> None:
    token = tmp_path / "token"
    one = desk(server, {"assertion_file": str(token)})
    for said in ("first", "second"):
        token.write_text(f"{said}\n")
        assert await call(one, "add", a=1, b=2) == {"result": 3}
        server.revoke_access()
    await one.aclose()
    forms = [form for _, form, _ in server.forms]
    assert [form["assertion"] for form in forms] == ["first", "second"]
    assert {form["grant_type"] for form in forms} == {GRANT}
    assert {form["client_id"] for form in forms} == {"us"}


@on_loop
async def test_an_identity_provider_says_on_whose_behalf(
    server: OAuthServer, tmp_path: Path
) -> None:
    (tmp_path / "id").write_text("an id token")
    known = {"token_url": f"{server.issuer}/idp", "client_id": "we"}
    one = desk(server, {"secret_env": "S", "identity": {**known, "token_file": tmp_path / "id"}})
    assert await closed(one, call(one, "add", a=1, b=2)) == {"result": 3}
    [(path, asked, _), (_, form, shown)] = server.forms
    assert (path, asked["subject_token"], asked["client_id"]) == ("/idp", "an id token", "we")
    assert (asked["audience"], asked["resource"]) == (server.issuer, f"{server.url}/mcp")
    assert (form["grant_type"], form["assertion"], form["scope"]) == (GRANT, "a grant", "read")
    assert shown == "us:our%20secret"


@pytest.mark.parametrize(
    ("says", "told"),
    [
        (
            (400, {"error": "invalid_client", "error_description": "of a-proof"}),
            r"\(invalid_client\)",
        ),
        ((400, {"error": "a-proof"}), "HTTP 400"),
        ((200, {"refresh_token": "a-proof"}), "nobody can read"),
        ((200, "a-proof"), "nobody can read"),
        ((200, {"access_token": "a-proof", "expires_in": 10**400}), "nobody can read"),
    ],
)
@on_loop
async def test_what_an_answer_repeats_is_in_no_error(
    server: OAuthServer, tmp_path: Path, says: tuple[int, Any], told: str
) -> None:
    token = tmp_path / "token"
    token.write_text("a-proof")
    server.says = says
    one = desk(server, {"assertion_file": str(token)})
    with pytest.raises(ProviderUnavailableError, match=told) as raised:
        await closed(one, names(one))
    assert "a-proof" not in raised.value.message


@on_loop
async def test_an_identity_provider_that_never_answers_holds_nobody(
    server: OAuthServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agents.toolsets.mcp.opening._ANSWER_S", 1.0)
    (tmp_path / "id").write_text("an id token")
    known = {"token_url": f"{server.issuer}/idp", "client_id": "we"}
    one = desk(server, {"secret_env": "S", "identity": {**known, "token_file": tmp_path / "id"}})
    server.answers.clear()
    with pytest.raises(ProviderUnavailableError, match="gave no token within 1 s"):
        await names(one)
    server.answers.set()
    assert await closed(one, call(one, "add", a=1, b=2)) == {"result": 3}


@pytest.mark.parametrize("proof", ["secret_env", "key_env", "assertion_file", "identity"])
@on_loop
async def test_no_proof_goes_to_another_issuer(
    server: OAuthServer, tmp_path: Path, proof: str
) -> None:
    (tmp_path / "id").write_text("an id token")
    known = {"token_url": f"{server.issuer}/idp", "client_id": "we"}
    identity = {"identity": {**known, "token_file": tmp_path / "id"}, "secret_env": "S"}
    proofs = {"secret_env": "S", "key_env": "K", "assertion_file": str(tmp_path / "id")}
    auth = identity if proof == "identity" else {proof: proofs[proof]}
    right = {**auth, "issuer": "https://right.example.com"}
    here = PrivateHosts.of([LOOPBACK])
    one = desk(server, right, private=here)
    with pytest.raises(ProviderUnavailableError, match="issuer"):
        await closed(one, names(one))
    assert not server.forms
