"""Runs that were open when traces were told"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "untold",
        sa.Column("run_id", sa.String(length=155), nullable=False),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_untold")),
    )


def downgrade() -> None:
    op.drop_table("untold")
    op.execute("DELETE FROM memos WHERE key = 'traces'")
