"""Joins whose members run so many at a time"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("joins", sa.Column("max_concurrent", sa.Integer(), nullable=True))


def downgrade() -> None:
    op.drop_column("joins", "max_concurrent")
