"""Persons who sign in at MCP servers, and workers that ask in their name."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from agents.net.outside import PrivateHosts
from agents.tools.calls import ToolError, ToolFailedError
from agents.toolsets.mcp.entries import McpAuthorisation
from agents.toolsets.mcp.forms import answering
from agents.toolsets.mcp.logins import Login, Logins, how_to, may_be_shown
from agents.toolsets.mcp.loopback import listening
from agents.toolsets.mcp.oauth import AuthorisedByLogin
from agents.toolsets.mcp.providers import LoginProvider
from agents.toolsets.mcp.toolset import McpToolset
from celery_agents.errors import (
    ConfigurationError,
    JournalUnavailableError,
    ProviderUnavailableError,
)
from deploy.local.servers import LOOPBACK
from tests.fakes.oauth_server import OAuthServer, standing
from tests.support import mcp_servers
from tests.support.mcp_servers import HERE, Browser, call, closed, names, on_loop, toolset

COMMAND = "celery -A celery_agents.service agents mcp login desk"
LOGIN = {"login": True}


class Kept(Logins):
    """Logins that are seen as they are kept."""

    def __init__(self, person: Any = None, login: Login | None = None) -> None:
        super().__init__(person)
        self.last: Mapping[str, Any] = {}
        if login is not None:
            self._kept["desk"] = login

    async def keep(self, name: str, login: Login) -> None:
        await super().keep(name, login)
        self.last = login


@pytest.fixture
def server() -> Iterator[OAuthServer]:
    with standing(LOOPBACK) as home:
        yield home


@asynccontextmanager
async def worker(
    server: OAuthServer, logins: Logins, auth: Mapping[str, Any] = LOGIN, **fields: Any
) -> AsyncIterator[McpToolset]:
    """A toolset as a worker has it, or with a person as the command has it."""
    desk = toolset(url=f"{server.url}/mcp", logins=logins, auth=dict(auth), **fields)
    try:
        yield desk
    finally:
        await desk.aclose()


async def signed_in(server: OAuthServer, **auth: Any) -> dict[str, Any]:
    """The login of a person."""
    logins = Kept()
    await mcp_servers.signed_in(f"{server.url}/mcp", "desk", logins.keep, **auth)
    return dict(logins.last)


@on_loop
async def test_a_person_signs_in_and_workers_call(server: OAuthServer) -> None:
    login = await signed_in(server)
    assert server.grants == ["authorization_code"]
    assert server.resources == {f"{server.url}/mcp"}
    asked = [*server.asked]
    async with worker(server, Kept(login=login)) as desk:
        assert await call(desk, "add", a=1, b=2) == {"result": 3}
    assert server.asked == asked  # a worker needed nothing more


@on_loop
async def test_without_a_login_the_command_is_named_and_nobody_is_registered(
    server: OAuthServer,
) -> None:
    async with worker(server, Kept(), breaker={"failures": 1, "open_s": 600.0}) as desk:
        for _ in range(3):  # no breaker opens: the server has done nothing
            with pytest.raises(ConfigurationError) as raised:
                await names(desk)
            assert raised.value.message.endswith(COMMAND)
    assert not server.asked


@pytest.mark.parametrize("rotates", [True, False])
@pytest.mark.parametrize("how", ["over", "refused"])
@on_loop
async def test_a_worker_renews_a_login(server: OAuthServer, how: str, *, rotates: bool) -> None:
    server.rotates = rotates
    login = await signed_in(server)
    if how == "over":
        login["expires_at"] = 1.0
    server.revoke_access()
    logins = Kept(login=login)
    async with worker(server, logins) as desk:
        for _ in range(2):
            assert await call(desk, "add", a=1, b=2) == {"result": 3}
        server.revoke_access()  # and in the middle of a connection
        assert await call(desk, "add", a=1, b=2) == {"result": 3}
    assert server.grants == ["authorization_code", "refresh_token", "refresh_token"]
    kept = logins.last["tokens"]
    assert (kept["refresh_token"] == login["tokens"]["refresh_token"]) is not rotates
    assert logins.last["expires_at"] > 1.0
    assert server.resources == {f"{server.url}/mcp"}


@on_loop
async def test_a_login_that_is_over_is_told_and_another_one_is_taken(server: OAuthServer) -> None:
    logins = Kept(login=await signed_in(server))
    async with worker(server, logins) as desk:
        assert await call(desk, "add", a=1, b=2) == {"result": 3}
        server.revoke()
        for _ in range(2):
            with pytest.raises(ConfigurationError, match=f"no more.*{COMMAND}"):
                await call(desk, "add", a=1, b=2)
        await logins.keep("desk", await signed_in(server))
        assert await call(desk, "add", a=1, b=2) == {"result": 3}


@pytest.mark.parametrize(
    ("status", "told"),
    [(one, f"HTTP {one}") for one in (500, 503, 429, 404)] + [(200, "nobody can read")],
)
@on_loop
async def test_a_token_endpoint_that_is_down_ends_no_login(
    server: OAuthServer, status: int, told: str
) -> None:
    login = await signed_in(server)
    login["expires_at"] = 1.0
    server.broken = status
    async with worker(server, Kept(login=login)) as desk:
        with pytest.raises(ProviderUnavailableError, match=told):
            await names(desk)
        server.broken = None
        assert await call(desk, "add", a=1, b=2) == {"result": 3}


@on_loop
async def test_a_call_that_needs_more_names_the_scopes(server: OAuthServer) -> None:
    login = await signed_in(server)
    server.needed = "write"
    logins = Kept(login=login)
    async with worker(server, logins) as desk:
        with pytest.raises(ConfigurationError) as raised:
            await call(desk, "add", a=1, b=2)
        assert raised.value.message.endswith(f"{COMMAND} --scope 'read offline_access write'")
        await logins.keep("desk", await signed_in(server, scope="read write"))
        assert await call(desk, "add", a=1, b=2) == {"result": 3}
    assert server.grants == ["authorization_code"] * 2


@pytest.mark.parametrize(
    ("scope", "told"),
    [
        ("a", f"{COMMAND} --scope a"),
        ("$(reboot)", f"{COMMAND} --scope '$(reboot)'"),
        ("a\nreboot", COMMAND),
        ('a" b', COMMAND),
        ("\x1b[2J", COMMAND),
        (None, COMMAND),
    ],
)
def test_a_servers_words_are_no_command(scope: str | None, told: str) -> None:
    assert how_to("desk", scope) == told


@on_loop
async def test_a_login_at_another_server_is_not_sent(server: OAuthServer) -> None:
    login = await signed_in(server)
    login["url"] = "https://elsewhere.example.com/mcp"
    async with worker(server, Kept(login=login)) as desk:
        with pytest.raises(ConfigurationError, match=COMMAND):
            await names(desk)


@on_loop
async def test_calls_do_not_wait_for_each_other(server: OAuthServer) -> None:
    login = await signed_in(server)
    async with worker(server, Kept(login=login)) as desk:
        await names(desk)
        server.together = threading.Barrier(3)
        made = await asyncio.gather(*(call(desk, "add", a=n, b=0) for n in range(3)))
    assert [one["result"] for one in made] == [0, 1, 2]


@on_loop
async def test_calls_at_once_renew_a_login_once(server: OAuthServer) -> None:
    login = await signed_in(server)
    async with worker(server, Kept(login=login)) as desk:
        await names(desk)
        server.revoke_access()
        await asyncio.gather(*(call(desk, "add", a=n, b=0) for n in range(5)))
    assert server.grants == ["authorization_code", "refresh_token"]


@on_loop
async def test_a_connection_that_is_closed_as_it_renews_loses_no_login(
    server: OAuthServer,
) -> None:
    logins = Kept(login=await signed_in(server))
    async with worker(server, logins) as desk:
        await names(desk)
        server.revoke_access()
        server.answers.clear()
        asking = asyncio.create_task(call(desk, "add", a=1, b=2))
        await asyncio.to_thread(server.waits.wait, 60)
        closing = asyncio.create_task(desk.aclose())
        await asyncio.wait([closing], timeout=0.1)
        server.answers.set()
        await closing
        with pytest.raises(ToolFailedError, match="was lost"):
            await asking
        assert await call(desk, "add", a=1, b=2) == {"result": 3}
    assert server.grants == ["authorization_code", "refresh_token"]


@on_loop
async def test_a_server_leads_into_no_private_network(server: OAuthServer) -> None:
    async with listening(0, Browser().open) as person:
        logins = Kept(person)
        async with worker(server, logins, private=PrivateHosts()) as desk:
            with pytest.raises(ConfigurationError, match=r"into a private network.*PRIVATE_HOSTS"):
                await names(desk)
    assert not server.asked


@on_loop
async def test_an_issuer_that_the_entry_names_may_be_private(server: OAuthServer) -> None:
    auth = {**LOGIN, "client_id": "us", "secret_env": "S", "issuer": server.issuer}
    async with listening(0, Browser().open) as person:
        logins = Kept(person)
        given: dict[str, Any] = {"secrets": {"S": "a-secret"}, "private": PrivateHosts()}
        async with worker(server, logins, auth, **given) as desk:
            assert await call(desk, "add", a=1, b=2) == {"result": 3}
    assert logins.last["client"]["client_id"] == "us"
    assert "/register" not in server.asked


async def another_issuer_is_refused(server: OAuthServer) -> None:
    auth = {**LOGIN, "client_id": "us", "secret_env": "S", "issuer": "https://right.example.com"}
    async with listening(0, Browser().open) as person:
        logins = Kept(person)
        async with worker(server, logins, auth, secrets={"S": "a-secret"}) as desk:
            with pytest.raises(ProviderUnavailableError, match="does not name the issuer"):
                await names(desk)


@on_loop
async def test_another_issuer_than_that_of_the_entry_is_refused(server: OAuthServer) -> None:
    await another_issuer_is_refused(server)
    assert not server.asked


@on_loop
async def test_a_server_that_is_its_own_issuer_gets_no_secret_of_anothers(
    server: OAuthServer,
) -> None:
    server.alone, server.issuer = True, server.url
    await another_issuer_is_refused(server)
    assert "/authorize" not in server.asked
    assert not server.forms


@pytest.mark.parametrize("status", [404, 503])
@on_loop
async def test_an_issuer_that_tells_nothing_is_not_replaced_by_the_server(
    server: OAuthServer, status: int
) -> None:
    server.hides = status
    auth = {**LOGIN, "client_id": "us", "secret_env": "S", "issuer": server.issuer}
    pages: list[str] = []
    async with listening(0, pages.append) as person:
        given: dict[str, Any] = {"secrets": {"S": "a-secret"}, "connect_timeout_s": 5.0}
        async with worker(server, Kept(person), auth, **given) as desk:
            with pytest.raises(ProviderUnavailableError, match="does not tell where to sign in"):
                await names(desk)
    assert not pages


@pytest.mark.parametrize("named", [{"issuer": "https://right.example.com"}, {"client_id": "we"}])
@on_loop
async def test_a_login_of_another_client_is_not_renewed(
    server: OAuthServer, named: dict[str, str]
) -> None:
    auth: dict[str, Any] = {"client_id": "c-1", "secret_env": "S", "issuer": server.issuer}
    login = await signed_in(server)
    login["expires_at"] = 1.0
    before = [*server.forms]
    given: dict[str, Any] = {"secrets": {"S": "a-secret"}}
    async with worker(server, Kept(login=login), {**LOGIN, **auth, **named}, **given) as desk:
        with pytest.raises(ConfigurationError, match=f"Nobody has signed in.*{COMMAND}"):
            await names(desk)
    assert server.forms == before


@on_loop
async def test_workers_leave_a_login_that_somebody_has_ended_or_replaced(
    server: OAuthServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agents.toolsets.mcp.oauth._FRESH_S", 0.0)
    first, second = await signed_in(server), await signed_in(server)
    logins = Kept(login=first)
    async with worker(server, logins) as desk:
        for login in (first, second):
            await logins.keep("desk", login)
            assert await call(desk, "add", a=1, b=2) == {"result": 3}
            assert server.shown == f"Bearer {login['tokens']['access_token']}"
        with monkeypatch.context() as away:
            away.setattr(logins, "read", failing)
            assert await call(desk, "add", a=1, b=2) == {"result": 3}  # the journal is away
        logins._kept.clear()
        with pytest.raises(ConfigurationError, match=f"Nobody has signed in.*{COMMAND}"):
            await call(desk, "add", a=1, b=2)


async def failing(_: str) -> Login | None:
    raise JournalUnavailableError("away")


@on_loop
async def test_a_server_that_refuses_a_renewed_token_has_no_more_renewed(
    server: OAuthServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    login = await signed_in(server)
    monkeypatch.setattr(server, "allows", lambda *_: (401, "Bearer"))
    async with worker(server, Kept(login=login)) as desk:
        with pytest.raises(ConfigurationError, match=f"no more.*{COMMAND}"):
            await names(desk)
    # Two requests open a connection: of the newest version of the protocol, and of older ones.
    assert server.grants == ["authorization_code", *["refresh_token"] * 2]


class Slow(Kept):
    """Logins that are read when a test lets them be."""

    def __init__(self, login: Login) -> None:
        super().__init__(login=login)
        self.gate = asyncio.Event()
        self.gate.set()

    async def read(self, name: str) -> Login | None:
        found = await super().read(name)
        await self.gate.wait()
        return found


@pytest.mark.parametrize("rotates", [True, False])
@on_loop
async def test_a_renewal_whose_caller_has_left_is_kept_whoever_comes_then(
    server: OAuthServer, *, rotates: bool
) -> None:
    server.rotates = rotates
    login = await signed_in(server)
    login["expires_at"] = 1.0
    logins, url = Slow(login), f"{server.url}/mcp"
    listed = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    async with httpx2.AsyncClient(timeout=60) as client:
        provider = LoginProvider(url, McpAuthorisation(login=True), None, None, HERE)

        async def send(request: httpx2.Request) -> httpx2.Response:
            return await client.send(request, auth=None)

        auth = AuthorisedByLogin("desk", provider, send, url=url, logins=logins)
        server.answers.clear()
        first = asyncio.create_task(client.post(url, json=listed, auth=auth))
        await asyncio.to_thread(server.waits.wait, 60)
        logins.gate.clear()
        first.cancel()
        await asyncio.wait([first])
        second = asyncio.create_task(client.post(url, json=listed, auth=auth))
        await asyncio.wait([second], timeout=0.1)  # it is behind the renewal, or in its midst
        server.answers.set()
        await asyncio.wait([second], timeout=1.0)
        logins.gate.set()
        assert (await second).status_code == 200
    assert server.grants == ["authorization_code", "refresh_token"]
    assert logins.last["tokens"]["access_token"] != login["tokens"]["access_token"]
    assert logins.last["tokens"]["refresh_token"]


@on_loop
async def test_an_endless_answer_is_not_read(server: OAuthServer) -> None:
    login = await signed_in(server)
    login["expires_at"] = 1.0
    server.says = 200, {"access_token": "x", "padding": "x" * 2 * 1024 * 1024}
    async with worker(server, Kept(login=login)) as desk:
        with pytest.raises(ProviderUnavailableError, match="more than 1048576 bytes"):
            await names(desk)


@pytest.mark.parametrize(
    ("does", "raises", "told"),
    [
        ({"denies": True}, ConfigurationError, "^The authorization server says no: .*: not you$"),
        ({"iss": "https://other.example.com"}, ProviderUnavailableError, "iss mismatch"),
    ],
)
@on_loop
async def test_who_does_not_sign_in_is_asked_once(
    server: OAuthServer, does: dict[str, Any], raises: type[Exception], told: str
) -> None:
    for name, value in does.items():
        setattr(server, name, value)
    async with listening(0, Browser().open) as person:
        logins = Kept(person)
        async with worker(server, logins) as desk:
            with pytest.raises(raises, match=told):
                await names(desk)
    assert server.asked.count("/authorize") == 1
    assert not server.grants
    assert not logins.last


@on_loop
async def test_a_redirect_without_our_state_is_somebody_elses() -> None:
    pages: asyncio.Queue[str] = asyncio.Queue()
    async with listening(0, pages.put_nowait) as person, httpx2.AsyncClient() as client:
        there = person.redirect_uri
        assert (await client.get(there, params={"state": "", "code": "x"})).status_code == 400
        waiting = asyncio.create_task(person.sign_in("https://as.example.com/?state=right"))
        await pages.get()
        for state in ("", "wrong"):
            asked = await client.get(there, params={"state": state, "code": "theirs"})
            assert asked.status_code == 400
        assert (await client.get(there.replace("callback", "other"))).status_code == 404
        assert (await client.post(there, params={"state": "right"})).status_code == 404
        done = await client.get(there, params={"state": "right", "code": "ours"})
        assert done.status_code == 200
        assert (await waiting)["code"] == "ours"
        assert (await client.get(there, params={"state": "right"})).status_code == 400


@on_loop
async def test_a_port_that_is_taken_is_told() -> None:
    async with listening(0, print) as person:
        with pytest.raises(ConfigurationError, match=f"Port {person.port}"):
            async with listening(person.port, print):
                pass


@on_loop
async def test_secrets_of_a_login_are_in_no_error_and_no_log(
    server: OAuthServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger("httpcore2").setLevel(logging.INFO)  # its lines of headers are not ours
    login = await signed_in(server)
    secrets = {
        login["tokens"]["access_token"],
        login["tokens"]["refresh_token"],
        login["client"]["client_secret"],
    }
    assert all(secrets)
    errors = []
    async with worker(server, Kept(login=login)) as desk:
        await names(desk)
        for broken in (500, None):
            server.broken = broken
            server.revoke()
            try:
                await call(desk, "add", a=1, b=2)
            except (ConfigurationError, ToolFailedError, ToolError) as error:
                errors.append(str(error))
    assert len(errors) == 2
    for secret in secrets:
        assert secret not in caplog.text
        assert not any(secret in text for text in errors)


_SCHEMA = {"properties": {"size": {"default": 43}, "colour": {}}}


@pytest.mark.parametrize(
    ("schema", "action", "content"),
    [
        (_SCHEMA, "accept", {"size": 43}),
        ({**_SCHEMA, "required": ["size"]}, "accept", {"size": 43}),
        ({**_SCHEMA, "required": ["colour"]}, "decline", None),
        ({}, "accept", {}),
        (None, "decline", None),
    ],
)
@on_loop
async def test_a_form_is_given_its_defaults(schema: Any, action: str, content: Any) -> None:
    desk = toolset(forms="defaults")
    given: Any = type("Params", (), {"requested_schema": schema})
    answer = answering(desk._entry)
    assert answer is not None
    told: Any = await answer(given, given)
    assert (told.action, told.content) == (action, content)
    assert answering(toolset()._entry) is None


_IDENTITY = {"token_url": "https://idp/t", "client_id": "a", "token_file": "f"}


@pytest.mark.parametrize(
    ("auth", "told"),
    [
        ({"login": True, "bearer_env": "T"}, "either bearer_env"),
        ({"login": True, "key_env": "K"}, "without key_env"),
        ({"login": True, "secret_env": "S"}, "go with client_id"),
        ({"login": True, "client_id": "a", "secret_env": "S"}, "secret_env goes with issuer"),
        ({"client_id": "a", "issuer": "https://i"}, "go together"),
        (
            {"client_id": "a", "issuer": "https://i", "secret_env": "S", "key_env": "K"},
            "either secret_env, key_env",
        ),
        ({"client_metadata_url": "https://d/c.json"}, "goes with login"),
        ({"identity": _IDENTITY}, "identity goes with"),
        ({"login": True, "identity": _IDENTITY}, "identity goes with"),
        (
            {"login": True, "client_id": "a", "client_metadata_url": "https://d/c.json"},
            "without client_id",
        ),
    ],
)
def test_logins_that_cannot_be_meant(auth: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        McpAuthorisation.model_validate(auth)


@on_loop
async def test_an_answer_that_is_none_is_an_error_of_its_call(
    server: OAuthServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    login = await signed_in(server)

    def malformed(message: dict[str, Any], send: Any) -> None:
        send({"jsonrpc": "2.0", "id": message["id"], "result": {"content": "no list"}})

    async with worker(server, Kept(login=login)) as desk:
        await names(desk)
        monkeypatch.setattr("tests.fakes.oauth_server.answer", malformed)
        with pytest.raises(ToolFailedError, match="answered what nobody can read"):
            await call(desk, "add", a=1, b=2)
        with pytest.raises(ProviderUnavailableError, match="as nobody can read them"):
            await closed(desk, names(desk))


@pytest.mark.parametrize(
    ("page", "may"),
    [
        ("https://login.example.com/authorize?a=b", True),
        ("http://login.example.com/authorize", False),
        ("http://127.0.0.1:8080/authorize", True),
        ("http://[::1]/authorize", True),
        ("http://localhost:9/authorize", True),
        ("http://localhost.example.com/authorize", False),
        ("http://127.0.0.1@example.com/authorize", False),
        ("http://example.com\\@127.0.0.1/authorize", False),  # browsers read a slash there
        ("http://sso.corp/authorize", True),
        ("http://10.1.2.3/authorize", True),
        ("http://10.2.2.3/authorize", False),
        ("http://crm.example.com/authorize", True),
        ("http://crm.example.com:81/authorize", False),
        ("file:///etc/passwd", False),
        ("javascript:alert(1)", False),
        ("//login.example.com/authorize", False),
    ],
)
def test_pages_that_a_person_may_be_shown(page: str, *, may: bool) -> None:
    private = PrivateHosts.of(["sso.corp", "10.1.0.0/16"])
    assert may_be_shown(page, ["http://crm.example.com/mcp"], private) is may


@on_loop
async def test_nobody_is_sent_to_a_page_where_others_could_listen(server: OAuthServer) -> None:
    server.elsewhere = "http://login.example.com/authorize"
    pages: list[str] = []
    async with listening(0, pages.append) as person, worker(server, Kept(person)) as desk:
        with pytest.raises((ConfigurationError, ProviderUnavailableError), match="https:// page"):
            await names(desk)
    assert not pages
