"""Streams grow up: keys of entries, positions in one order of all, cursors that read it"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_KEYED = sa.text("key IS NOT NULL")
_PLACE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _kept() -> list[sa.Column[object]]:
    return [
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("stream", sa.String(length=200), nullable=False),
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("data", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("tokens", sa.Integer(), nullable=False),
        sa.Column("at", sa.Float(precision=53), nullable=False),
        sa.Column("run_id", sa.String(length=155), nullable=True),
    ]


def _aside() -> None:
    op.rename_table("entries", "entries_before")
    if op.get_context().dialect.name == "postgresql":  # else it is the table's
        op.execute("ALTER INDEX pk_entries RENAME TO pk_entries_before")


def _moved() -> None:
    names = ", ".join(column.name for column in _kept())
    order = "ORDER BY at, tenant, stream, seq"
    op.execute(f"INSERT INTO entries ({names}) SELECT {names} FROM entries_before {order}")  # noqa: S608 - of our own names
    op.drop_table("entries_before")


def upgrade() -> None:
    _aside()
    op.create_table(
        "entries",
        sa.Column("pos", _PLACE, autoincrement=True, nullable=False),
        *_kept(),
        sa.Column("key", sa.String(length=200), nullable=True),
        sa.Column("xid", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("pos", name=op.f("pk_entries")),
        sqlite_autoincrement=True,
    )
    _moved()
    op.create_index("ix_entries_place", "entries", ["tenant", "stream", "seq"], unique=True)
    op.create_index(
        "ix_entries_key",
        "entries",
        ["tenant", "stream", "kind", "key"],
        unique=True,
        sqlite_where=_KEYED,
        postgresql_where=_KEYED,
    )
    op.create_index("ix_entries_position", "entries", ["xid", "pos"])
    op.create_index(
        "ix_entries_run_id",
        "entries",
        ["run_id"],
        sqlite_where=sa.text("run_id IS NOT NULL"),
        postgresql_where=sa.text("run_id IS NOT NULL"),
    )
    op.create_table(
        "cursors",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=180), nullable=False),
        sa.Column("xid", sa.BigInteger(), nullable=False),
        sa.Column("pos", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.Float(precision=53), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "name", name=op.f("pk_cursors")),
    )


def downgrade() -> None:
    op.drop_table("cursors")
    _aside()
    if op.get_context().dialect.name == "sqlite":
        for name in ("place", "key", "position", "run_id"):
            op.execute(f"DROP INDEX IF EXISTS ix_entries_{name}")
    op.create_table(
        "entries",
        *_kept(),
        sa.PrimaryKeyConstraint("tenant", "stream", "seq", name=op.f("pk_entries")),
    )
    _moved()
