"""Calls that are over say what they cost"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("calls", sa.Column("cost_usd", sa.Float(precision=53), nullable=True))


def downgrade() -> None:
    op.drop_column("calls", "cost_usd")
