"""Entries of streams, and sessions, whose exchanges are such"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_HELD = "holder IS NOT NULL"


def upgrade() -> None:
    op.create_table(
        "entries",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("stream", sa.String(length=200), nullable=False),
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("data", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("tokens", sa.Integer(), nullable=False),
        sa.Column("at", sa.Float(precision=53), nullable=False),
        sa.Column("run_id", sa.String(length=155), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "stream", "seq", name=op.f("pk_entries")),
    )
    op.create_table(
        "sessions",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=180), nullable=False),
        sa.Column("exchanges", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Float(precision=53), nullable=False),
        sa.Column("changed_at", sa.Float(precision=53), nullable=False),
        sa.Column("holder", sa.String(length=155), nullable=True),
        sa.Column("begins", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "name", name=op.f("pk_sessions")),
    )
    op.create_index(
        "ix_sessions_holder",
        "sessions",
        ["holder"],
        sqlite_where=sa.text(_HELD),
        postgresql_where=sa.text(_HELD),
    )
    op.create_index("ix_sessions_tenant_changed_at", "sessions", ["tenant", "changed_at"])
    op.create_table(
        "waits",
        sa.Column("step_id", sa.String(length=155), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("stream", sa.String(length=200), nullable=False),
        sa.Column("since", sa.Float(precision=53), nullable=False),
        sa.ForeignKeyConstraint(
            ["step_id"], ["steps.id"], name=op.f("fk_waits_step_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("step_id", name=op.f("pk_waits")),
    )
    op.create_index("ix_waits_tenant_stream_since", "waits", ["tenant", "stream", "since"])


def downgrade() -> None:
    op.drop_table("waits")
    op.drop_table("sessions")
    op.drop_table("entries")
