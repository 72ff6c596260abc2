"""Sums of budgets say when their windows end, so that each is kept as long as it is needed"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("spend", sa.Column("ends_at", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    op.drop_column("spend", "ends_at")
