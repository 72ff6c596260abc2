"""Settings of what is sent to addresses, and signed or allowed by secrets, that others name."""

from __future__ import annotations

import json
from typing import Annotated

from pydantic import field_validator
from pydantic_settings import BaseSettings, NoDecode

from celery_agents.errors import ConfigurationError

#: Names, separated by commas or as a JSON list.
Names = Annotated[tuple[str, ...], NoDecode]


def listed(value: object) -> object:
    """``a,b`` or a JSON list, as a list.

    Raises:
        ValueError: it is neither.
    """
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except ValueError as error:
            wanted = "a list of names, separated by commas or as JSON"
            raise ValueError(wanted) from error
    return [name.strip() for name in value.split(",") if name.strip()]


class OutwardSettings(BaseSettings):
    """The part of the settings that bounds where those who ask can have something sent."""

    #: Variables with the secrets that sign webhooks (``whsec_…``, the newest first), by name; the
    #: first is the default. No other one is read for it: whoever asks for a run names it.
    webhook_secrets: Names = ()
    #: Hosts, by name, address or network, that URLs of those who ask may lead to though they are
    #: private. None: a URL would let everybody who may ask into the network behind the workers.
    private_hosts: Names = ()
    #: Secrets that agents made over the API may use, by the names of their variables: ``NAME`` at
    #: the provider's own servers, ``NAME@host`` at that host. None: whoever names a URL could have
    #: any variable of the workers sent there.
    api_secrets: Names = ()

    @field_validator("webhook_secrets", "private_hosts", "api_secrets", mode="before")
    @classmethod
    def _named(cls, value: object) -> object:
        return listed(value)

    def webhook_secret(self, asked: str | None) -> str:
        """The name of the secret that signs a webhook.

        Raises:
            ConfigurationError: none of that name does, or none at all.
        """
        if not self.webhook_secrets:
            raise ConfigurationError("AGENTS_WEBHOOK_SECRETS names no secret that signs webhooks.")
        if asked is not None and asked not in self.webhook_secrets:
            raise ConfigurationError("The secret of the webhook is not one that may sign.")
        return asked or self.webhook_secrets[0]
