"""The keys that the journal's values need: looked at when a process starts, and renewed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from functools import partial
from typing import Any

from sqlalchemy import Engine

from app.journal.schema.engine import reading, relaxed
from app.journal.schema.sealed import sealed_by
from app.journal.schema.transactions import in_transaction
from app.journal.tables import encryption
from app.journal.tables.encryption import PLACES, Row, SealedColumns
from celery_agents import names
from celery_agents.errors import ConfigurationError
from celery_agents.sealing import KEYS

#: Times that all tables are gone through: while steps run, some are written meanwhile.
_PASSES = 3


class Encryption:
    """The encrypted values of one journal."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._seals = sealed_by(engine)
        #: The ids of the keys that are here, the one that encrypts first.
        self.ids: tuple[str, ...] = () if self._seals is None else self._seals.ids

    def begin(self) -> None:
        """Look whether all keys are here that values need, and say that ours encrypts from now on.

        Raises:
            ConfigurationError: one is missing; with how many values need it.
        """
        in_use = in_transaction(reading(self._engine), encryption.keys_in_use)
        if missing := sorted({*in_use} - {*self.ids}):
            self._refuse(missing)
        if self.ids and self.ids[0] not in in_use:
            in_transaction(self._engine, lambda c: encryption.begin_using(c, self.ids[0]))

    def _refuse(self, missing: Collection[str]) -> None:
        needed = {key: n for key, n in self.count().items() if key in missing}
        if needed:
            told = ", ".join(f"{n:,} values the key {key}" for key, n in sorted(needed.items()))
            raise ConfigurationError(
                f"The journal has values that cannot be read: {told}, which {KEYS} has not here. "
                f"Give it back, behind the newer ones; `{names.COMMAND} encryption rotate` "
                "encrypts them anew, and then it can go."
            )
        self._forget(missing)

    def _forget(self, keys: Collection[str]) -> None:
        """A commit that waits for the disk, and so for all that was written before."""
        for key in keys:
            in_transaction(self._engine, partial(encryption.done_with, key=key))

    def count(self) -> Counter[str]:
        """The values, by the ids of their keys. It reads all rows that have some."""
        found: Counter[str] = Counter()
        for place in PLACES:
            after: tuple[Any, ...] | None = None
            while rows := self._rows(place, None, after):
                found += encryption.counted(place, rows)
                after = rows[-1][0]
        return found

    def rotate(self) -> tuple[int, Counter[str]]:
        """Encrypt with the first key what others have encrypted, a row at a time.

        Steps run on meanwhile: no transaction has more than one row, and one that was changed is
        left to the next pass. Returns how many values that were, and how many are left, by keys.

        Raises:
            ConfigurationError: there are no keys.
        """
        if not self.ids:
            raise ConfigurationError(f"{KEYS} has no keys here.")
        self.begin()
        done = 0
        for _ in range(_PASSES):
            renewed = sum(self._renew(place) for place in PLACES)
            done += renewed
            left = self.count()
            del left[self.ids[0]]
            if not renewed or not {*left} & {*self.ids}:
                break
        in_use = in_transaction(reading(self._engine), encryption.keys_in_use)
        self._forget([key for key in in_use if key not in left and key != self.ids[0]])
        return done, left

    def _renew(self, place: SealedColumns) -> int:
        done, after, older = 0, None, self.ids[1:]
        while older and (rows := self._rows(place, older, after)):
            done += sum(self._renew_row(place, row) for row in rows)
            after = rows[-1][0]
        return done

    def _renew_row(self, place: SealedColumns, row: Row) -> int:
        key, texts = row

        def work(connection: Any) -> int:
            done = 0
            for name, old in texts.items():
                new, count = encryption.renewed(connection, place, old)
                if count and encryption.write(connection, place, key, old, **{name: new}):
                    done += count
            return done

        return in_transaction(relaxed(self._engine), work)

    def _rows(
        self, place: SealedColumns, keys: Collection[str] | None, after: tuple[Any, ...] | None
    ) -> list[Row]:
        wanted = None if keys is None else [*keys]
        return in_transaction(
            reading(self._engine), lambda c: encryption.rows_with(c, place, wanted, after)
        )
