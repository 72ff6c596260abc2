"""Tenants"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("runs", "steps"):
        tenant = sa.Column("tenant", sa.String(length=64), server_default="", nullable=False)
        op.add_column(table, tenant)
    op.create_index("ix_runs_tenant_created_at", "runs", ["tenant", "created_at"])


def downgrade() -> None:
    op.drop_index("ix_runs_tenant_created_at", "runs")
    for table in ("steps", "runs"):
        with op.batch_alter_table(table) as batch:
            batch.drop_column("tenant")
