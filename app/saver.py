"""LangGraph's checkpointer on the journal, for code in steps and for code beside them."""

from __future__ import annotations

from functools import cached_property

from sqlalchemy import Engine

from agents.current import CURRENT
from agents.frameworks.langgraph_saver import StepSaver
from agents.graphs import GraphLines
from app.journal.schema.engine import connect_as
from app.journal.schema.migrate import ensure_schema
from app.journal.stores.graphs import GraphStore
from app.settings import Settings


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
        return GraphStore(self._engine, self._tenant)

    @cached_property
    def _engine(self) -> Engine:
        engine = connect_as(Settings())
        ensure_schema(engine)
        return engine
