"""Many vectors of PostgreSQL at once, by its binary COPY: as texts each would go as hexadecimal."""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Any, NamedTuple

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

#: Bytes before the first row and behind the last one, and from a row's begin to its vector's size.
_HEAD, _TAIL, _TO_SIZE = 19, 2, 22
_COPY = (
    "COPY (SELECT number, place, vector FROM memory_vectors WHERE space_id = %(b_space)s "
    "AND model = %(b_model)s AND number > %(b_last)s ORDER BY number LIMIT %(b_most)s) "
    "TO STDOUT (FORMAT binary)"
)


class CopiedVectors(NamedTuple):
    """Vectors of one length, with their numbers and places."""

    numbers: Any
    places: Any
    rows: Any


def copied(connection: Connection, about: dict[str, Any]) -> CopiedVectors | None:
    """Read vectors of a space; None: not all of them are of one length, or there are none.

    Raises:
        DBAPIError: the database did not answer, as of any statement.
    """
    driver: Any = connection.connection.driver_connection
    kind: Any = connection.dialect.loaded_dbapi.Error
    told = BytesIO()
    try:
        with driver.cursor() as cursor:
            cursor.copy_expert(cursor.mogrify(_COPY, about), told)
    except kind as error:
        if gone := bool(driver.closed):
            connection.invalidate(error)
        raise DBAPIError.instance(
            _COPY, None, error, kind, hide_parameters=True, connection_invalidated=gone
        ) from error
    return _read(told.getbuffer())


def _read(told: memoryview) -> CopiedVectors | None:
    import numpy as np

    body = told[_HEAD : len(told) - _TAIL]
    size = struct.unpack_from(">i", body, _TO_SIZE)[0] if len(body) > _TO_SIZE else 0
    if size <= 0 or size % 4:
        return None
    of_row = [("fields", ">i2"), ("number_size", ">i4"), ("number", ">i8"), ("place_size", ">i4")]
    of_row += [("place", ">i4"), ("size", ">i4"), ("vector", f"V{size}")]
    row = np.dtype(of_row)
    if len(body) % row.itemsize:
        return None
    rows = np.frombuffer(body, dtype=row)
    if (rows["fields"] != 3).any() or (rows["size"] != size).any():  # noqa: PLR2004 - as asked
        return None
    vectors = np.ascontiguousarray(rows["vector"]).view(np.float32).reshape(len(rows), -1)
    return CopiedVectors(rows["number"].astype(np.int64), rows["place"].astype(np.int64), vectors)
