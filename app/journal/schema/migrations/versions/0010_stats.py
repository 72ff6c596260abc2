"""Statistics of steps by minute and hour, and the runs that were open when they were counted"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "stats",
        sa.Column("grain_s", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("starts_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("agent", sa.String(length=200), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("steps", sa.BigInteger(), nullable=False),
        sa.Column("timed", sa.BigInteger(), nullable=False),
        sa.Column("sum_s", sa.Float(53), nullable=False),
        sa.Column("sum_squares_s2", sa.Float(53), nullable=False),
        sa.Column("min_s", sa.Float(53), nullable=True),
        sa.Column("max_s", sa.Float(53), nullable=True),
        sa.Column("buckets", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("errors", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("usage", sa.JSON(none_as_null=True), nullable=False),
        sa.PrimaryKeyConstraint(
            "grain_s", "starts_at", "tenant", "agent", "state", name=op.f("pk_stats")
        ),
    )
    op.create_table(
        "uncounted",
        sa.Column("run_id", sa.String(length=155), nullable=False),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_uncounted")),
    )


def downgrade() -> None:
    op.drop_table("uncounted")
    op.drop_table("stats")
    op.execute("DELETE FROM memos WHERE key = 'stats'")
