"""Trust and vectors of memories, and roots below which others' words were read"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def _number(name: str, kind: sa.types.TypeEngine[int], default: str) -> sa.Column[int]:
    return sa.Column(name, kind, server_default=sa.text(default), nullable=False)


def _vectors() -> None:
    op.create_table(
        "memory_vectors",
        sa.Column("space_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("data", sa.JSON(none_as_null=True), nullable=False),
        sa.PrimaryKeyConstraint("space_id", "number", name=op.f("pk_memory_vectors")),
    )
    op.create_index("ix_memory_vectors_place", "memory_vectors", ["space_id", "place"])


def upgrade() -> None:
    op.add_column(
        "steps", sa.Column("untrusted", sa.Boolean(), server_default=sa.false(), nullable=False)
    )
    op.add_column("memories", _number("trust", sa.Integer(), "2"))
    op.add_column("memory_spaces", _number("next_vector", sa.BigInteger(), "0"))
    _vectors()


def downgrade() -> None:
    op.drop_table("memory_vectors")
    op.drop_column("memory_spaces", "next_vector")
    op.drop_column("memories", "trust")
    op.drop_column("steps", "untrusted")
