"""How steps went whose inputs are kept, to learn from"""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

_KEPT = sa.text("experience IS NOT NULL")


def upgrade() -> None:
    op.add_column("memories", sa.Column("experience", sa.JSON(none_as_null=True), nullable=True))
    op.create_index(
        "ix_memories_experience",
        "memories",
        ["run_id"],
        sqlite_where=_KEPT,
        postgresql_where=_KEPT,
    )


def downgrade() -> None:
    op.drop_index("ix_memories_experience", "memories")
    op.drop_column("memories", "experience")
