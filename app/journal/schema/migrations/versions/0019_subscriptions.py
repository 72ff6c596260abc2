"""Cursors that are served, streams that are trimmed, states that are kept on the way"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_SERVED = sa.text("look_at IS NOT NULL")


def _tenant() -> sa.Column[object]:
    return sa.Column("tenant", sa.String(length=64), nullable=False)


def _whole(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.BigInteger(), server_default="0", nullable=False)


#: Of a cursor: what it reads, who is served with that, and how far that is.
_OF_CURSORS = (
    lambda: sa.Column("of", sa.String(length=181), nullable=True),
    lambda: sa.Column("kind", sa.String(length=40), nullable=True),
    lambda: sa.Column("serves", sa.String(length=12), nullable=True),
    lambda: sa.Column("target", sa.JSON(none_as_null=True), nullable=True),
    lambda: sa.Column("rule", sa.JSON(none_as_null=True), nullable=True),
    lambda: sa.Column("look_at", sa.Float(precision=53), nullable=True),
    lambda: sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
    lambda: _whole("served"),
    lambda: _whole("passed"),
    lambda: _whole("missed"),
    lambda: _whole("lost"),
    lambda: sa.Column("error", sa.Text(), nullable=True),
)


def upgrade() -> None:
    for column in _OF_CURSORS:
        op.add_column("cursors", column())
    op.create_index(
        "ix_cursors_look_at",
        "cursors",
        ["look_at"],
        sqlite_where=_SERVED,
        postgresql_where=_SERVED,
    )
    op.add_column("entries", sa.Column("size", sa.Integer(), server_default="0", nullable=False))
    op.create_table(
        "stream_rules",
        _tenant(),
        sa.Column("of", sa.String(length=181), nullable=False),
        sa.Column("keep_s", sa.Float(precision=53), nullable=True),
        sa.Column("keep_bytes", sa.BigInteger(), nullable=True),
        sa.Column("xid", sa.BigInteger(), nullable=False),
        sa.Column("pos", sa.BigInteger(), nullable=False),
        _whole("trimmed"),
        sa.Column("changed_at", sa.Float(precision=53), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "of", name=op.f("pk_stream_rules")),
    )
    op.create_table(
        "stream_ends",
        _tenant(),
        sa.Column("stream", sa.String(length=200), nullable=False),
        sa.Column("length", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "stream", name=op.f("pk_stream_ends")),
    )
    op.create_table(
        "snapshots",
        _tenant(),
        sa.Column("stream", sa.String(length=200), nullable=False),
        sa.Column("reducer", sa.String(length=180), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("state", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("at", sa.Float(precision=53), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "stream", "reducer", name=op.f("pk_snapshots")),
    )


def downgrade() -> None:
    for name in ("snapshots", "stream_ends", "stream_rules"):
        op.drop_table(name)
    op.drop_column("entries", "size")
    op.drop_index("ix_cursors_look_at", "cursors")
    for column in reversed(_OF_CURSORS):
        op.drop_column("cursors", column().name)
