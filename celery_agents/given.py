"""Celery with the addresses it is given: no variable of the environment replaces them."""

from __future__ import annotations

from typing import Any

from celery import Celery
from celery.app.utils import Settings

from celery_agents.address import RedisAddress
from celery_agents.sealing import Seals


class GivenSettings(Settings):
    """Celery's settings, without what it reads from the environment before them.

    ``CELERY_BROKER_URL`` and ``CELERY_RESULT_BACKEND`` stand in the images of Django and Airflow
    apps, for the app there; Celery puts them before what an app was configured with.
    """

    @property
    def broker_url(self) -> Any:
        """The broker of the configuration."""
        return self.first("broker_url", "broker_host")

    @property
    def broker_read_url(self) -> Any:
        """The broker to consume from, else :attr:`broker_url`."""
        return self.get("broker_read_url") or self.broker_url

    @property
    def broker_write_url(self) -> Any:
        """The broker to publish to, else :attr:`broker_url`."""
        return self.get("broker_write_url") or self.broker_url

    @property
    def result_backend(self) -> Any:
        """The result backend of the configuration."""
        return self.first("result_backend")


class Addressed(Celery):
    """An app that tells its transport the address that was read."""

    #: Where its broker and its results are, for its transport and its backend: its makers set it.
    #: None: of another kind, which Celery reads.
    broker_address: RedisAddress | None = None
    results_address: RedisAddress | None = None
    #: What encrypts its messages and their results; None: they are not.
    seals: Seals | None = None

    def _connection(self, url: str, *args: Any, **kwargs: Any) -> Any:
        if self.broker_address is not None:
            given = kwargs.get("transport_options") or {}
            kwargs["transport_options"] = {**given, "address": self.broker_address}
        return super()._connection(url, *args, **kwargs)


class GivenCelery(Addressed):
    """An app whose broker and results are those of its configuration."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # The loader, too, could be another app's: CELERY_LOADER.
        super().__init__(*args, loader="celery.loaders.app:AppLoader", **kwargs)
        _given(self._conf)

    def _load_config(self) -> Any:
        return _given(super()._load_config())


def _given(conf: Any) -> Any:
    """The same settings by our class: Celery names its own where it makes some."""
    object.__setattr__(conf, "__class__", GivenSettings)  # its own __setattr__ adds a setting
    return conf
