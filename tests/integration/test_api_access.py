"""Who may what: each route of the app, asked by everybody there can be."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import func, select

from api.access import OPEN, permissions
from api.application import create_api
from app.access.permissions import ROLES, Permission, Role
from app.journal.schema.models import ApiKey
from app.journal.stores.keys import ApiKeys
from app.settings import Settings
from tests.integration.harness import SOON_S, Stack
from tests.support.api import JWT_KEY, Asked, in_process, made_key, settings
from tests.support.drawn import in_turn

pytestmark = pytest.mark.databases("sqlite")

RSA = rsa.generate_private_key(65537, 2048)
ROUTES = [
    (method, str(getattr(route, "path", "")), needed)
    for route, needed in permissions(create_api(Settings()))
    for method in sorted({*getattr(route, "methods", ())} - {"HEAD"})
]
NOBODY = [
    *("wrong", "expired", "revoked", "basic"),
    *("alg none", "HS256 with the public key", "no exp", "wrong aud", "wrong iss"),
    *("unknown kid", "over", "another secret"),
]


@pytest.fixture(scope="module")
def base(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Stack, Any]]:
    """The API of the shared stack; it knows public keys, too."""
    stack: Stack = request.getfixturevalue("stack")
    made = jwt.get_algorithm_by_name("RS256").to_jwk(RSA.public_key())
    place = tmp_path_factory.mktemp("keys") / "jwks.json"
    place.write_text(json.dumps({"keys": [{**json.loads(made), "kid": "one"}]}))
    with in_process(settings(stack.redis_url, stack.database_url, jwks_url=str(place))) as http:
        yield stack, http


@pytest.fixture(scope="module")
def given(base: tuple[Stack, Any]) -> dict[str, str]:
    """Everybody there can be, by what they send."""
    stack, _ = base
    url = stack.database_url
    revoked = made_key(url, Role.ADMIN)
    ApiKeys(stack.engine).revoke(revoked.split("_")[1])
    found = {role.value: made_key(url, role) for role in Role}
    found |= {"other": made_key(url, Role.ADMIN, tenant="other"), "revoked": revoked}
    found["expired"] = made_key(url, Role.ADMIN, lasts_s=-1.0)
    found["wrong"] = f"ca_abcdefgh_{'x' * 43}"
    return found | _tokens()


def _tokens() -> dict[str, str]:
    now = int(time.time())
    claims = {
        "sub": "me",
        "role": "admin",
        "tenant": "",
        "iss": "celery-agents",
        "aud": "celery-agents",
        "iat": now,
        "exp": now + 600,
    }
    without = {name: value for name, value in claims.items() if name != "exp"}
    head = jwt.utils.base64url_encode(b'{"alg":"HS256","typ":"JWT","kid":"one"}')
    signing = head + b"." + jwt.utils.base64url_encode(json.dumps(claims).encode())
    public = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    forged = jwt.get_algorithm_by_name("HS256").sign(signing, public)
    kid = {"kid": "one"}
    return {
        "token": jwt.encode(claims, JWT_KEY, "HS256"),
        "RS256": jwt.encode(claims, RSA, "RS256", headers=kid),
        "alg none": jwt.encode(claims, "", "none"),
        "HS256 with the public key": (signing + b"." + jwt.utils.base64url_encode(forged)).decode(),
        "no exp": jwt.encode(without, JWT_KEY, "HS256"),
        "wrong aud": jwt.encode({**claims, "aud": "x"}, JWT_KEY, "HS256"),
        "wrong iss": jwt.encode({**claims, "iss": "x"}, JWT_KEY, "HS256"),
        "unknown kid": jwt.encode(claims, RSA, "RS256", headers={"kid": "two"}),
        "over": jwt.encode({**claims, "iat": now - 900, "exp": now - 60}, JWT_KEY, "HS256"),
        "another secret": jwt.encode(claims, "y" * 64, "HS256"),
    }


def ask(http: Any, method: str, path: str, secret: str | None, scheme: str = "Bearer") -> Any:
    """Ask a route for something that is not there, or that is no request."""
    headers = {} if secret is None else {"Authorization": f"{scheme} {secret}"}
    place = path.replace("{key_id}", "00000000")
    place = place.replace("{run_id}", "gone").replace("{step_id}", "gone")
    place = re.sub(r"{name(:[a-z]+)?}", "gone", place).replace("{response_id}", "resp_gone")
    return http.request(method, place, headers=headers, json=[] if method == "POST" else None)


def refused(path: str, method: str = "POST") -> int:
    """The status of a body that is none: clients of OpenAI's and of MCP know another one.

    What is a session's of MCP is not there without one.
    """
    if path == "/mcp" and method != "POST":
        return 405
    return 400 if path.startswith(("/v1/", "/mcp")) else 422


def kind_of(told: Any) -> str:
    """The word of an error, in both forms."""
    body = told.json()
    return str(body["error"]["code"] if "error" in body else body["kind"])


@pytest.mark.parametrize(("method", "path", "needed"), ROUTES)
def test_every_route_by_everybody(
    base: tuple[Stack, Any],
    given: dict[str, str],
    method: str,
    path: str,
    needed: Permission | None,
) -> None:
    """Whoever is nobody is refused before a route is looked for: some of them at each."""
    _, http = base
    if needed is None:
        assert path in OPEN
        # A form that no page of ours has sent.
        assert ask(http, method, path, None).status_code == (200 if method == "GET" else 403)
        return
    turn = ROUTES.index((method, path, needed))
    for who in ["none", *in_turn(NOBODY, turn, part=4)]:
        secret = given["admin"] if who == "basic" else given.get(who)
        told = ask(http, method, path, secret, "Basic" if who == "basic" else "Bearer")
        assert told.status_code == 401, (who, told.text)
        assert told.headers["www-authenticate"] == "Bearer"
        assert kind_of(told) in {"unauthorized", "invalid_api_key"}
    for role in Role:
        told = ask(http, method, path, given[role.value])
        assert (told.status_code == 403) == (needed not in ROLES[role]), (role, told.text)
        assert told.status_code in {200, 403, 404, refused(path, method)}, told.text
    for who in ("token", "RS256", "other"):
        told = ask(http, method, path, given[who])
        assert told.status_code in {200, 404, refused(path, method)}


def test_agents_that_a_key_may_ask(base: tuple[Stack, Any]) -> None:
    stack, http = base
    user = Asked(http, made_key(stack.database_url, Role.USER, agents=["sho*", "noop"]))
    assert user.ask("shout", "a")["value"] == "A"
    for body in (
        {"task": "ask", "agent": "yes", "input": "?"},
        {"task": "fallback", "candidates": ["shout", "yes"], "input": "?"},
        {"task": "ask", "agent": "shout", "input": "?", "compensation": "yes"},
        {"task": "team", "lead": "yes", "input": "?"},
        {"task": "team", "lead": "shout", "members": "yes", "input": "?"},
        {"task": "team", "lead": "shout", "members": [{"base": "yes"}], "input": "?"},
        {"task": "solve", "strategies": ["shout"], "select": "yes", "input": "?"},
        {
            "task": "solve",
            "strategies": [{"verb": "vote", "options": {"voters": ["yes"]}, "name": "shout"}],
            "input": "?",
        },
    ):
        assert user("POST", "/tasks", body).status_code == 403
    names = {a["name"] for a in user("GET", "/agents", status=200)["items"]}
    assert names <= {"noop", *(n for n in names if n.startswith("sho"))}
    assert "shout" in names


def test_a_map_that_a_key_resumes(base: tuple[Stack, Any]) -> None:
    """Whoever undoes its steps is the earlier map's, too, and may be for others alone."""
    stack, http = base
    everybody = Asked(http, made_key(stack.database_url, Role.USER))
    narrow = Asked(http, made_key(stack.database_url, Role.USER, agents=["shout"]))
    mapped = {"task": "map", "agent": "shout", "input": ["a", 1]}
    for undone_by, status in (("yes", 403), ("shout", 202), (None, 202)):
        about = {} if undone_by is None else {"compensation": undone_by}
        first = everybody("POST", "/tasks", {**mapped, **about}, status=202)
        everybody.end(first["id"])
        second = everybody("POST", "/tasks", {"task": "map", "resumes": first["id"]}, status=202)
        everybody.end(second["id"])
        for one in (first, second):
            again = {"task": "map", "agent": "shout", "resumes": one["id"]}
            assert narrow("POST", "/tasks", again).status_code == status, undone_by
            assert narrow("POST", "/tasks", {**again, "compensation": "shout"}).is_success


def test_runs_that_a_key_lets_go_on(base: tuple[Stack, Any]) -> None:
    """Runs and schedules of its agents alone, and of no other tenant."""
    stack, http = base
    everybody = Asked(http, made_key(stack.database_url, Role.ADMIN))
    narrow = Asked(http, made_key(stack.database_url, Role.ADMIN, agents=["shout"]))
    other = Asked(http, made_key(stack.database_url, Role.ADMIN, tenant="other"))
    own, of_others = everybody.ask("shout", "a"), everybody.ask("yes", "a")
    asked = {"task": "vote", "voters": ["shout", "yes"], "input": "a", "escalate": "person"}
    vote = everybody("POST", "/tasks", asked, status=202)
    for path, body in (("requeue", None), ("approve", {"choice": "x"})):
        assert narrow("POST", f"/tasks/{of_others['id']}/{path}", body).status_code == 403
        assert narrow("POST", f"/tasks/{vote['id']}/{path}", body).status_code == 403
        assert narrow("POST", f"/tasks/{own['id']}/{path}", body).status_code == 409
        assert other("POST", f"/tasks/{own['id']}/{path}", body).status_code == 404
        assert everybody("POST", f"/tasks/{of_others['id']}/{path}", body).status_code == 409
    every = {"every_s": 86_400}
    for name, agent in (("theirs", "yes"), ("ours", "shout")):
        run = {"task": "ask", "agent": agent, "input": "a"}
        everybody("POST", "/schedules", {"name": name, "run": run, **every}, status=201)
    for method, act in (("POST", "/pause"), ("POST", "/resume"), ("DELETE", "")):
        assert narrow(method, f"/schedules/theirs{act}").status_code == 403, act
        assert narrow(method, f"/schedules/ours{act}").is_success, act
    everybody("DELETE", "/schedules/theirs", status=204)


def test_a_key_makes_no_key_that_may_more(base: tuple[Stack, Any]) -> None:
    stack, http = base
    url = stack.database_url
    admin = Asked(http, made_key(url, Role.ADMIN, tenant="acme", agents=["sho*"]))
    for body in (
        {"role": "user", "name": "x"},  # may ask all agents
        {"role": "user", "name": "x", "agents": ["yes"]},
        {"role": "user", "name": "x", "agents": ["sho*"], "tenant": "umbrella"},
        {"role": "user", "name": "x", "agents": ["sho*"], "tenant": "*"},
    ):
        assert admin("POST", "/keys", body).status_code == 403, body
    asked: Any = {"role": "user", "name": "x", "agents": ["sho*"], "runs_per_s": 2}
    made = admin("POST", "/keys", asked, status=201)
    user = Asked(http, made["key"])
    assert user.ask("shout", "a")["tenant"] == "acme"
    (row,) = (k for k in admin("GET", "/keys", status=200)["items"] if k["id"] == made["id"])
    assert made["key"].split("_", 2)[2] not in json.dumps(row)
    assert "hash" not in row
    other = Asked(http, made_key(url, Role.ADMIN, tenant="umbrella"))
    assert other("DELETE", f"/keys/{made['id']}").status_code == 404
    admin("DELETE", f"/keys/{made['id']}", status=200)
    until = time.monotonic() + SOON_S
    while user("GET", "/tasks").status_code == 200:
        assert time.monotonic() < until, "a revoked key holds"
        time.sleep(0.1)


MORE: dict[str, dict[str, Any]] = {
    "role": {"role": Role.ADMIN},
    "agents": {"agents": ["yes"]},
    "all agents": {"agents": None},
    "requests": {"requests_per_s": 6},
    "all requests": {"requests_per_s": None},
    "runs": {"runs_per_s": 4},
    "all runs": {"runs_per_s": None},
    "life": {"lasts_s": 9_000.0},
    "no end": {"lasts_s": None},
    "all tenants": {"tenant": None},
}


@pytest.mark.parametrize("what", MORE)
def test_a_key_neither_makes_nor_touches_one_that_has_more(
    base: tuple[Stack, Any], what: str
) -> None:
    stack, http = base
    own: dict[str, Any] = {"agents": ["sho*"], "requests_per_s": 500, "runs_per_s": 3}
    about = {**own, "tenant": "acme", "lasts_s": 1_000.0}
    writer = [p.value for p in ROLES[Role.USER] | {Permission.KEYS_WRITE, Permission.KEYS_READ}]
    user = {**about, "permissions": writer, "lasts_s": 3_000.0}
    maker = Asked(http, made_key(stack.database_url, Role.USER, **user))
    less = {**about, "role": Role.USER}
    more = {**less, **MORE[what]}
    if "requests_per_s" in MORE[what] and MORE[what]["requests_per_s"]:
        more["requests_per_s"] = 501
    for given, status in ((less, 201), (more, 403)):
        told = {"name": "x", **given, "expires_s": given["lasts_s"]}
        told = {n: v for n, v in told.items() if n not in {"lasts_s", "permissions", "tenant"}}
        if given["tenant"] is None:
            told["tenant"] = "*"
        assert maker("POST", "/keys", told).status_code == status, told
        made = made_key(stack.database_url, **given)
        key_id = made.split("_")[1]
        seen = 404 if given["tenant"] is None else status
        assert maker("POST", f"/keys/{key_id}/rotate", {}).status_code == seen
        wanted = {201: 200}.get(seen, seen)
        assert maker("DELETE", f"/keys/{key_id}").status_code == wanted
        if wanted != 200:
            assert ApiKeys(stack.engine).find(key_id) is not None


def test_no_key_that_is_made_or_rotated_lasts_longer(
    base: tuple[Stack, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the API's own clock says, to the instant: who goes on making keys wins no time."""
    stack, http = base
    behind = SimpleNamespace(time=lambda: time.time() - 60)
    monkeypatch.setattr("api.operations.time", behind)
    first = made_key(stack.database_url, Role.ADMIN, lasts_s=600.0)
    keys = ApiKeys(stack.engine)
    ends = (keys.find(first.split("_")[1]) or {})["expires_at"]
    maker = Asked(http, first)
    for _ in range(3):
        left_s = ends - time.time()
        asked = {"name": "x", "role": "admin", "expires_s": left_s + 30}
        made = maker("POST", "/keys", asked, status=201)
        assert (keys.find(made["id"]) or {})["expires_at"] <= ends
        rotated = Asked(http, made["key"])("POST", f"/keys/{made['id']}/rotate", {}, status=201)
        for key_id in (made["id"], rotated["id"]):
            assert (keys.find(key_id) or {})["expires_at"] <= ends
        maker = Asked(http, rotated["key"])


def test_limits_of_a_key(base: tuple[Stack, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    stack, http = base
    monkeypatch.setattr("api.limits.time", SimpleNamespace(time=lambda: 1e9))
    user = Asked(http, made_key(stack.database_url, Role.USER, requests_per_s=3))
    found = [user("GET", "/tasks?limit=1") for _ in range(4)]
    assert [told.status_code for told in found] == [200, 200, 200, 429]
    assert found[-1].headers["retry-after"] == "1"
    assert found[-1].json()["kind"] == "rate_limited"


def test_secrets_are_nowhere(base: tuple[Stack, Any], caplog: pytest.LogCaptureFixture) -> None:
    """Keys and tokens go through success, refusals and mistakes, and are nowhere after that."""
    stack, http = base
    key = made_key(stack.database_url, Role.USER)
    token = _tokens()["token"]
    caplog.set_level("DEBUG")
    told = ""
    for secret in (key, key[:-1] + "!", token, token + "x"):
        headers = {"Authorization": f"Bearer {secret}"}
        bodies: list[Any] = [{"task": "ask", "agent": "shout", "input": "a"}, {"task": "?"}, []]
        for body in bodies:
            response = http.post("/tasks", json=body, headers=headers)
            told += response.text + str(response.headers)
    rows = stack.read(lambda c: c.execute(select(ApiKey.__table__)).all())
    assert stack.read(lambda c: c.execute(select(func.count(ApiKey.id))).scalar_one())
    everything = told + caplog.text + str(rows) + str(stack.redis.keys("*"))
    for secret in (key.split("_", 2)[2], token.rsplit(".", 1)[1]):
        assert secret not in everything


STREAMS = ["/tasks/{id}/events", "/v1/responses/resp_{id}?stream=true", "/ui/runs/{id}/events"]


@pytest.mark.parametrize(
    ("path", "how"),
    [
        (path, how)
        for n, path in enumerate([*STREAMS, "/v1/chat/completions"])
        for how in in_turn(["revoked", "over"], n, part=2)
    ],
)
def test_a_stream_ends_with_its_key(
    fast: Stack, monkeypatch: pytest.MonkeyPatch, path: str, how: str
) -> None:
    """Its run is never begun: nothing else ends it."""

    async def offered(*_: Any) -> None:
        """No worker says so: the agent is no panel, and there."""

    monkeypatch.setattr("api.openai.catalog.ModelCatalog.find", offered)
    url = fast.database_url
    with in_process(settings(fast.redis_url, url, api_accepts="journal")) as http:
        chief = Asked(http, made_key(url, Role.ADMIN, tenant=None))
        run = chief("POST", "/tasks", {"task": "ask", "agent": "far", "input": "?"}, status=202)
        key = made_key(url, Role.USER)
        end = partial(ApiKeys(fast.engine).revoke, after_s=0.0 if how == "revoked" else 0.5)
        threading.Timer(3.0, end, [key.split("_")[1]]).start()
        body = {"model": "far", "stream": True, "messages": [{"role": "user", "content": "?"}]}
        asked = body if "chat" in path else None
        told = Asked(http, key)("POST" if asked else "GET", path.format(id=run["id"]), asked)
        assert told.status_code == 200, told.text
        assert "holds no longer" in told.text
        assert chief("GET", f"/tasks/{run['id']}", status=200)["state"] == "ready"
