"""Signatures are those of the specification, by its own package."""

from __future__ import annotations

import base64
import time

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from agents.net.signing import as_secret, keys_of, signed
from celery_agents.errors import ConfigurationError

OLD = "whsec_" + base64.b64encode(b"o" * 24).decode()
NEW = "whsec_" + base64.b64encode(b"n" * 64).decode()
BODY = '{"type":"run.succeeded","data":{"id":"r","value":"é"}}'


def headers(secrets: str, tenant: str = "", at: float | None = None) -> dict[str, str]:
    keys = keys_of(secrets, tenant, named="HOOK")
    return signed(keys, "m", int(time.time() if at is None else at), BODY.encode())


def test_it_is_verified() -> None:
    assert Webhook(NEW).verify(BODY, headers(NEW))["type"] == "run.succeeded"
    for wrong in (headers(OLD), headers(NEW, at=time.time() - 3600)):
        with pytest.raises(WebhookVerificationError):
            Webhook(NEW).verify(BODY, wrong)
    with pytest.raises(WebhookVerificationError):
        Webhook(NEW).verify(BODY + " ", headers(NEW))


def test_while_a_secret_is_changed_both_hold() -> None:
    told = headers(f"{NEW} {OLD}")
    for secret in (OLD, NEW):
        Webhook(secret).verify(BODY, told)


def test_each_tenant_has_its_own() -> None:
    told = {tenant: headers(NEW, tenant) for tenant in ("", "acme", "umbrella")}
    for mine in told:
        secret = as_secret(keys_of(NEW, mine, named="HOOK")[0])
        for tenant, its in told.items():
            if tenant == mine:
                Webhook(secret).verify(BODY, its)
            else:
                with pytest.raises(WebhookVerificationError):
                    Webhook(secret).verify(BODY, its)


@pytest.mark.parametrize(
    "secret", ["whsec_", "secret", "whsec_c2hvcnQ=", "whsec_?", NEW[6:], f"{NEW} no", NEW + "AAAA"]
)
def test_what_is_no_secret(secret: str) -> None:
    with pytest.raises(ConfigurationError, match="HOOK is no secret") as raised:
        keys_of(secret, "", named="HOOK")
    assert len(secret) < 10 or secret not in str(raised.value)
