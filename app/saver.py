"""LangGraph's checkpointer on the journal, for code in steps and for code beside them."""

from __future__ import annotations

from functools import cached_property

from sqlalchemy import Engine

from agents.current import CURRENT
from agents.frameworks.langgraph_saver import StepSaver
from agents.graphs import GraphLines
from app.concurrency.per_process import PerProcess
from app.journal.schema.engine import connect_as
from app.journal.schema.migrate import ensure_schema
from app.journal.stores.graphs import GraphStore
from app.settings import Settings, read_settings


class JournalSaver(StepSaver):
    """Keeps threads of LangGraph's graphs in the journal: ``compile(checkpointer=JournalSaver())``.

    In the code of a step it is that step's journal, and tenant. Elsewhere, in a web app or a shell,
    it is the one of the settings in the environment.

    Args:
        tenant: whose threads they are, outside of steps.
    """

    def __init__(self, tenant: str = "") -> None:
        super().__init__()
        self._tenant = tenant

    def _lines(self) -> GraphLines:
        if CURRENT.get() is not None:
            return super()._lines()
        return GraphStore(_opened(self._settings), self._tenant)

    @cached_property
    def _settings(self) -> Settings:
        return read_settings()


def _opened(settings: Settings) -> Engine:
    """Open the journal of these settings, once for all savers of this process."""
    engines = _ENGINES.get(dict)
    key = (settings.database_url.get_secret_value(), *settings.fernet_secrets)
    if (engine := engines.get(key)) is None:
        engine = connect_as(settings)
        ensure_schema(engine)
        engines[key] = engine
    return engine


#: The journals that savers of this process have opened: a web app may make one for each request.
_ENGINES: PerProcess[dict[tuple[str, ...], Engine]] = PerProcess()
