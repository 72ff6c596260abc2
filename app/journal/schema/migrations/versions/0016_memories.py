"""Memories: spaces, their texts and terms, and roots below which something was remembered"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_SPACE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _partly(state: str) -> dict[str, object]:
    which = sa.text(f"state = '{state}'")
    return {"sqlite_where": which, "postgresql_where": which}


def _spaces() -> None:
    op.create_table(
        "memory_spaces",
        sa.Column("id", _SPACE, autoincrement=True, nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=180), nullable=False),
        sa.Column("language", sa.String(length=20), nullable=False),
        sa.Column("secret", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("capacity_tokens", sa.BigInteger(), nullable=False),
        sa.Column("next_place", sa.Integer(), nullable=False),
        sa.Column("memories", sa.Integer(), nullable=False),
        sa.Column("length", sa.BigInteger(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.Float(precision=53), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_memory_spaces")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_memory_spaces_name", "memory_spaces", ["tenant", "name"], unique=True)


def _memories() -> None:
    op.create_table(
        "memories",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("space_id", sa.BigInteger(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("data", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("tokens", sa.Integer(), nullable=False),
        sa.Column("length", sa.Integer(), nullable=False),
        sa.Column("importance", sa.Float(precision=53), nullable=False),
        sa.Column("worth", sa.Float(precision=53), nullable=False),
        sa.Column("thread", sa.String(length=200), nullable=False),
        sa.Column("turn", sa.Integer(), nullable=False),
        sa.Column("replaces", sa.String(length=36), nullable=True),
        sa.Column("agent", sa.String(length=200), nullable=True),
        sa.Column("run_id", sa.String(length=155), nullable=True),
        sa.Column("at", sa.Float(precision=53), nullable=False),
        sa.Column("until", sa.Float(precision=53), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_memories")),
    )
    op.create_index("ix_memories_place", "memories", ["space_id", "place"], unique=True)
    op.create_index("ix_memories_turn", "memories", ["space_id", "thread", "turn"])
    op.create_index(
        "ix_memories_worth", "memories", ["space_id", "worth", "place"], **_partly("live")
    )
    op.create_index("ix_memories_run_id", "memories", ["run_id"], **_partly("private"))
    op.create_index("ix_memories_until", "memories", ["until"], **_partly("over"))


def upgrade() -> None:
    op.add_column(
        "steps", sa.Column("remembers", sa.Boolean(), server_default=sa.false(), nullable=False)
    )
    _spaces()
    _memories()
    op.create_table(
        "memory_terms",
        sa.Column("space_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("term", sa.String(length=40), nullable=False),
        sa.Column("place", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("times", sa.Integer(), nullable=False),
        sa.Column("length", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("space_id", "term", "place", name=op.f("pk_memory_terms")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_memory_terms_place", "memory_terms", ["place", "space_id"])


def downgrade() -> None:
    op.drop_table("memory_terms")
    op.drop_table("memories")
    op.drop_table("memory_spaces")
    op.drop_column("steps", "remembers")
