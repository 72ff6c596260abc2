"""Memory and processors that workers use"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("workers", sa.Column("memory_bytes", sa.BigInteger(), nullable=True))
    op.add_column("workers", sa.Column("cores", sa.Float(precision=53), nullable=True))


def downgrade() -> None:
    op.drop_column("workers", "cores")
    op.drop_column("workers", "memory_bytes")
