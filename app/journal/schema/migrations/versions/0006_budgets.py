"""Calls reserve what they may cost, and accounts of budgets say what was spent"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_HELD = "reserved_nano_usd IS NOT NULL"


def upgrade() -> None:
    op.add_column("calls", sa.Column("reserved_nano_usd", sa.BigInteger(), nullable=True))
    op.add_column("calls", sa.Column("counted_tokens", sa.BigInteger(), nullable=True))
    op.add_column("calls", sa.Column("accounts", sa.Text(), nullable=True))
    op.create_index(
        "ix_calls_reserved",
        "calls",
        ["step_id"],
        sqlite_where=sa.text(_HELD),
        postgresql_where=sa.text(_HELD),
    )
    op.create_table(
        "spend",
        sa.Column("account", sa.String(length=300), nullable=False),
        sa.Column("starts_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("writer", sa.String(length=64), nullable=False),
        sa.Column("nano_usd", sa.BigInteger(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("calls", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account", "starts_at", "writer", name=op.f("pk_spend")),
    )


def downgrade() -> None:
    op.drop_table("spend")
    op.drop_index("ix_calls_reserved", "calls")
    op.drop_column("calls", "accounts")
    op.drop_column("calls", "counted_tokens")
    op.drop_column("calls", "reserved_nano_usd")
