"""One write to the journal, as the writer takes it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from sqlalchemy.engine import Connection

from app.concurrency.future import Future
from app.journal.schema.locks import Lock
from app.journal.writing.prepared import Shot

R = TypeVar("R")


class Operation(ABC, Generic[R]):
    """One write. Subclasses define how many of a kind are applied together."""

    #: Kinds with a lower number are applied first; join locks before row locks (see locks.py).
    order: ClassVar[int]
    #: Whether its commit has to survive a power cut, or a crash of the database. A claim has not:
    #: before anything is paid, StartCall's commit takes it along; without a call nothing is, and a
    #: finish that finds no row gives the message back.
    final: bool = True
    #: Whether nobody waits for it: it goes along with others, or waits for a moment.
    lazy: ClassVar[bool] = False

    def __init__(self) -> None:
        self.future: Future[R] = Future()
        #: Whether it is written once more: an earlier try may have been committed unheard.
        self.again = False

    @classmethod
    @abstractmethod
    def apply(cls, connection: Connection, operations: Sequence[Any]) -> list[Any]:
        """Write all ``operations``, and give one result for each, in their order."""

    @property
    def variety(self) -> int:
        """Operations of a kind go into one prepared statement only if they agree in it."""
        return 0

    @property
    def has_lite(self) -> bool:
        """True when sqlite.py has a statement for it that is quicker."""
        return True

    @property
    def locks(self) -> Collection[Lock]:
        """The joins that it locks."""
        return ()

    @property
    def alone(self) -> bool:
        """True when it takes locks in an order of its own, so it needs a transaction to itself."""
        return False

    @property
    def shares(self) -> bool:
        """True when that may be a transaction of others of its kind that are such ones, too."""
        return False

    @classmethod
    def shot(cls, operations: Sequence[Any]) -> Shot | None:  # noqa: ARG003 - for subclasses
        """Return the same writes as a :class:`Shot`, which is quicker; None when they need more.

        What a statement that answers does not name it has left as it was; that is applied then.
        """
        return None
