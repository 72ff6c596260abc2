"""Variables that SDKs read for their own users do not reach the servers that our agents name."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import httpx2
import pytest

from agents.base import Turn
from agents.kinds.http import HttpBackend, HttpConfig
from agents.kinds.model import ModelBackend
from agents.models.config import ModelConfig
from agents.models.providers import PROVIDERS
from agents.net.clients import SharedClients, http_client
from celery_agents.errors import AgentsError

#: In the value of each variable below; no request may have it anywhere.
ALIEN = "of-the-environment"
KEY = "sk-" + "ours-0123456789abcdef"

VARIABLES = {
    "OPENAI_API_KEY": f"sk-{ALIEN}-0123456789",
    "OPENAI_ADMIN_KEY": f"sk-{ALIEN}-admin",
    "OPENAI_ORG_ID": f"org-{ALIEN}",
    "OPENAI_PROJECT_ID": f"proj-{ALIEN}",
    "OPENAI_CUSTOM_HEADERS": f"X-Gateway: {ALIEN}\nAuthorization: Bearer {ALIEN}",
    "OPENAI_BASE_URL": f"http://{ALIEN}.invalid/v1",
    "OPENAI_WEBHOOK_SECRET": ALIEN,
    "ANTHROPIC_API_KEY": f"sk-ant-{ALIEN}",
    "ANTHROPIC_AUTH_TOKEN": f"token-{ALIEN}",
    "ANTHROPIC_BASE_URL": f"http://{ALIEN}.invalid",
    "ANTHROPIC_CUSTOM_HEADERS": f"X-Gateway: {ALIEN}\nX-Api-Key: {ALIEN}",
    "ANTHROPIC_PROFILE": ALIEN,
    "GOOGLE_API_KEY": f"AIza-{ALIEN}",
    "GEMINI_API_KEY": f"AIza-{ALIEN}-2",
    "GOOGLE_GENAI_USE_VERTEXAI": "true",
    "GOOGLE_GENAI_USE_ENTERPRISE": "true",
    "GOOGLE_CLOUD_PROJECT": f"project-{ALIEN}",
    "GOOGLE_CLOUD_LOCATION": f"{ALIEN}-west1",
    "GOOGLE_GEMINI_BASE_URL": f"http://{ALIEN}.invalid",
    "GOOGLE_VERTEX_BASE_URL": f"http://{ALIEN}.invalid",
    "GOOGLE_GENAI_API_VERSION": ALIEN,
}
HOSTS = {
    "openai": "api.openai.com",
    "anthropic": "api.anthropic.com",
    "google": "generativelanguage.googleapis.com",
}


@pytest.fixture(autouse=True)
def _variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[httpx2.Request]:
    """The requests that would have been sent; each is refused."""
    requests: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        requests.append(request)
        return httpx2.Response(400, json={"error": {"message": "no"}})

    def made(_: Any) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(transport=httpx2.MockTransport(answer))

    monkeypatch.setattr("agents.net.clients.http_client", made)
    return requests


def ask(step: Any, provider: str, **fields: Any) -> None:
    """Have a model asked, who is heard and refuses."""

    async def scene() -> None:
        config = ModelConfig.model_validate({"provider": provider, "model": "m", **fields})
        made = PROVIDERS[config.provider](
            config, clients=SharedClients(), resolve_secret={"KEY": KEY}.get
        )
        backend = ModelBackend(config, made)
        try:
            with pytest.raises(AgentsError):
                await backend.answer(Turn(input="?"), step)
        finally:
            await backend.aclose()

    asyncio.run(scene())


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("provider", HOSTS)
@pytest.mark.parametrize("url", ["http://127.0.0.1:8/base", None])
@pytest.mark.parametrize("key", [{"api_key_env": "KEY"}, {}], ids=["key", "no key"])
def test_no_request_has_any_of_it(
    step: Any,
    heard: list[httpx2.Request],
    provider: str,
    *,
    url: str | None,
    stream: bool,
    key: dict[str, str],
) -> None:
    if url is None and not key:
        key = {"api_key_env": "KEY"}  # the provider's usual variable is meant for it
    ask(step, provider, base_url=url, stream=stream, **key)
    (request,) = heard
    assert request.url.host == ("127.0.0.1" if url else HOSTS[provider])
    sent = f"{request.url} {request.headers.raw!r} {request.content!r}"
    assert ALIEN not in sent
    assert (KEY in sent) is bool(key)
    assert not [n for n in request.headers if n.startswith(("openai-", "x-gateway", "x-goog-user"))]


def test_what_an_entry_says_is_sent(step: Any, heard: list[httpx2.Request]) -> None:
    ask(step, "openai", api_key_env="KEY", organization="org-ours", project="proj-ours")
    (request,) = heard
    assert request.headers["OpenAI-Organization"] == "org-ours"
    assert request.headers["OpenAI-Project"] == "proj-ours"


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_a_query_of_base_url_is_one_of_each_request(
    step: Any, heard: list[httpx2.Request], provider: str, stream: bool, slash: str
) -> None:
    ask(
        step,
        provider,
        base_url=f"https://gateway.example/base{slash}?api-version=2024-02-01&team=a%20b&x=",
        api_key_env="KEY",
        stream=stream,
    )
    (request,) = heard
    path = {"openai": "/base/chat/completions", "anthropic": "/base/v1/messages"}[provider]
    assert request.url.path == path
    assert dict(request.url.params) == {"api-version": "2024-02-01", "team": "a b", "x": ""}


def test_agents_of_one_address_share_a_client_unless_they_are_others(
    step: Any, heard: list[httpx2.Request]
) -> None:
    clients = SharedClients()
    made = [
        PROVIDERS["openai"](
            ModelConfig.model_validate(
                {"provider": "openai", "model": "m", "api_key_env": "KEY", **fields}
            ),
            clients=clients,
            resolve_secret={"KEY": KEY}.get,
        )
        for fields in ({}, {}, {"organization": "a"}, {"project": "a"})
    ]

    async def scene() -> None:
        for provider in made:
            with pytest.raises(AgentsError):
                await ModelBackend(provider.config, provider).answer(Turn(input="?"), type(step)())

    asyncio.run(scene())
    assert made[0]._client_key == made[1]._client_key
    assert len({p._client_key for p in made}) == 3
    assert [r.headers.get("OpenAI-Project") for r in heard] == [None, None, None, "a"]


def directly(client: httpx2.AsyncClient, url: str) -> bool:
    chosen = client._transport_for_url(httpx2.URL(url))
    return chosen is client._transport or hasattr(chosen, "pools")


class TestProxies:
    """A proxy of the environment gets nothing that it could read, or that stays here."""

    @pytest.fixture(autouse=True)
    def _proxies(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("http", "https", "all", "no"):
            for spelt in (f"{name}_proxy", f"{name.upper()}_PROXY"):
                monkeypatch.delenv(spelt, raising=False)

    @pytest.mark.parametrize(
        ("url", "by_proxy"),
        [
            ("https://api.openai.com/v1", True),
            ("https://gateway.example:8443/v1", True),
            ("https://10.0.0.8/v1", True),
            ("https://inside.example/v1", False),  # by NO_PROXY
            ("http://gateway.example/v1", False),
            ("http://10.0.0.8:8000/v1", False),
            ("http://localhost:11434/v1", False),
            ("https://localhost:8443/v1", False),
            ("https://127.0.0.1:8443/v1", False),
            ("https://127.8.8.8/v1", False),
            ("https://[::1]:8443/v1", False),
        ],
    )
    @pytest.mark.parametrize("variables", [("HTTPS_PROXY", "HTTP_PROXY"), ("ALL_PROXY",)])
    def test_who_goes_by_it(
        self,
        url: str,
        by_proxy: bool,
        variables: tuple[str, ...],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        for name in variables:
            monkeypatch.setenv(name, "http://proxy.example:3128")
        monkeypatch.setenv("NO_PROXY", "inside.example")
        client = http_client(httpx2)
        assert directly(client, url) is not by_proxy
        from agents.catalog.checks import connection_to

        looked_at = connection_to(url).host
        assert (looked_at == "proxy.example") is by_proxy

    @pytest.mark.parametrize("url", ["https://api.openai.com/v1", "http://10.0.0.8:8000/v1"])
    def test_without_one_all_go_by_small_pools(self, url: str) -> None:
        assert hasattr(http_client(httpx2)._transport_for_url(httpx2.URL(url)), "pools")

    @pytest.mark.parametrize("proxy", ["socks5h://u:hush@127.0.0.1:1", "ftp://u:hush@127.0.0.1:1"])
    def test_one_that_cannot_be_used_stops_only_what_would_go_by_it(
        self, proxy: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setitem(sys.modules, "socksio", None)
        monkeypatch.setenv("ALL_PROXY", proxy)

        async def scene() -> None:
            async with http_client(httpx2) as client:
                for url in ("http://10.0.0.8/", "https://localhost/"):
                    assert directly(client, url)
                with pytest.raises(httpx2.ConnectError, match="ALL_PROXY"):
                    await client.get("https://gateway.example/")

        asyncio.run(scene())
        assert "ALL_PROXY" in caplog.text
        assert "hush" not in caplog.text

    def test_a_service_on_http_is_asked_itself(
        self, step: Any, monkeypatch: pytest.MonkeyPatch, server: Any
    ) -> None:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # nobody is there
        monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
        config = HttpConfig(url=f"{server.url}/ask")
        backend = HttpBackend(config, clients=SharedClients(), resolve_secret=lambda _: None)

        async def scene() -> Any:
            try:
                return await backend.answer(Turn(input="?"), step)
            finally:
                await backend.aclose()

        with pytest.raises(AgentsError) as caught:
            asyncio.run(scene())
        assert "HTTP 404" in str(caught.value)  # of the server, which has no such page
