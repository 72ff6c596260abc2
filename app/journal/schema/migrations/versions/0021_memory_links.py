"""Links between memories of a space"""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "memory_links",
        sa.Column("space_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("place", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("to_place", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.PrimaryKeyConstraint(
            "space_id", "place", "to_place", "kind", name=op.f("pk_memory_links")
        ),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_memory_links_to", "memory_links", ["space_id", "to_place"])


def downgrade() -> None:
    op.drop_table("memory_links")
