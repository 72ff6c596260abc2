"""The journal"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:

    op.create_table(
        "agents",
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("effects", sa.String(length=12), nullable=False),
        sa.Column("seen_at", sa.Float(precision=53), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_agents")),
    )
    op.create_table(
        "dead_letters",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("cause", sa.String(length=40), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("queue", sa.String(length=200), nullable=False),
        sa.Column("task", sa.String(length=200), nullable=True),
        sa.Column("step_id", sa.String(length=155), nullable=True),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("raw", sa.Text(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("at", sa.Float(precision=53), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dead_letters")),
    )
    with op.batch_alter_table("dead_letters", schema=None) as batch_op:
        batch_op.create_index("ix_dead_letters_at", ["at"], unique=False)

    op.create_table(
        "duties",
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("holder", sa.String(length=64), nullable=True),
        sa.Column("until", sa.Float(precision=53), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_duties")),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("run_id", sa.String(length=155), nullable=False),
        sa.Column("step_id", sa.String(length=155), nullable=False),
        sa.Column("at", sa.Float(precision=53), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("data", sa.JSON(none_as_null=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
    )
    with op.batch_alter_table("events", schema=None) as batch_op:
        batch_op.create_index("ix_events_run_id", ["run_id", "id"], unique=False)
        batch_op.create_index(
            "ix_events_dropped",
            ["step_id"],
            unique=False,
            sqlite_where=sa.text("kind = 'dropped'"),
            postgresql_where=sa.text("kind = 'dropped'"),
        )

    op.create_table(
        "health",
        sa.Column("target", sa.String(length=300), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("since", sa.Float(precision=53), nullable=False),
        sa.Column("checked_at", sa.Float(precision=53), nullable=False),
        sa.Column("last_ok_at", sa.Float(precision=53), nullable=True),
        sa.Column("latency_ms", sa.Float(precision=53), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("successes", sa.Integer(), nullable=False),
        sa.Column("message", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("target", name=op.f("pk_health")),
    )
    op.create_table(
        "memos",
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("data", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("changed_at", sa.Float(precision=53), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_memos")),
    )
    op.create_table(
        "runs",
        sa.Column("id", sa.String(length=155), nullable=False),
        sa.Column("task", sa.String(length=200), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("created_at", sa.Float(precision=53), nullable=False),
        sa.Column("finished_at", sa.Float(precision=53), nullable=True),
        sa.Column("usage", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("compensable", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
        postgresql_with={"fillfactor": 70},
    )
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.create_index("ix_runs_created_at", ["created_at"], unique=False)

    op.create_table(
        "slots",
        sa.Column("schedule", sa.String(length=100), nullable=False),
        sa.Column("slot", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("taken_at", sa.Float(precision=53), nullable=False),
        sa.Column("worker_id", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("schedule", "slot", name=op.f("pk_slots")),
    )
    op.create_table(
        "steps",
        sa.Column("id", sa.String(length=155), nullable=False),
        sa.Column("run_id", sa.String(length=155), nullable=False),
        sa.Column("parent_id", sa.String(length=155), nullable=True),
        sa.Column("member", sa.String(length=200), nullable=True),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("task", sa.String(length=200), nullable=False),
        sa.Column("agent", sa.String(length=200), nullable=True),
        sa.Column("queue", sa.String(length=200), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("payload", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("envelope", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("max_attempts", sa.Integer(), nullable=False),
        sa.Column("token", sa.Integer(), nullable=False),
        sa.Column("worker_id", sa.String(length=64), nullable=True),
        sa.Column("ready_at", sa.Float(precision=53), nullable=False),
        sa.Column("wake_at", sa.Float(precision=53), nullable=False),
        sa.Column("wakes", sa.Integer(), nullable=False),
        sa.Column("deadline_at", sa.Float(precision=53), nullable=True),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("outcome", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("error", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("settled", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.Float(precision=53), nullable=False),
        sa.Column("started_at", sa.Float(precision=53), nullable=True),
        sa.Column("finished_at", sa.Float(precision=53), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_steps")),
        postgresql_with={"fillfactor": 70},
    )
    with op.batch_alter_table("steps", schema=None) as batch_op:
        batch_op.create_index(
            "ix_steps_dead",
            ["finished_at"],
            unique=False,
            sqlite_where=sa.text("state = 'dead'"),
            postgresql_where=sa.text("state = 'dead'"),
        )
        batch_op.create_index(
            "ix_steps_parent_id",
            ["parent_id", "position"],
            unique=False,
            sqlite_where=sa.text("parent_id IS NOT NULL"),
            postgresql_where=sa.text("parent_id IS NOT NULL"),
        )
        batch_op.create_index(
            "ix_steps_ready",
            ["wake_at"],
            unique=False,
            sqlite_where=sa.text("state = 'ready'"),
            postgresql_where=sa.text("state = 'ready'"),
        )
        batch_op.create_index("ix_steps_run_id", ["run_id"], unique=False)
        batch_op.create_index(
            "ix_steps_running",
            ["worker_id"],
            unique=False,
            sqlite_where=sa.text("state = 'running'"),
            postgresql_where=sa.text("state = 'running'"),
        )
        batch_op.create_index(
            "ix_steps_unsettled",
            ["wake_at"],
            unique=False,
            sqlite_where=sa.text("settled = 0 AND finished_at IS NOT NULL"),
            postgresql_where=sa.text("NOT settled AND finished_at IS NOT NULL"),
        )

    op.create_table(
        "workers",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("host", sa.String(length=200), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("lease_until", sa.Float(precision=53), nullable=False),
        sa.Column("started_at", sa.Float(precision=53), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workers")),
    )
    op.create_table(
        "calls",
        sa.Column("step_id", sa.String(length=155), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("token", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("idempotency_key", sa.String(length=36), nullable=False),
        sa.Column("started_at", sa.Float(precision=53), nullable=False),
        sa.Column("finished_at", sa.Float(precision=53), nullable=True),
        sa.Column("answer", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("error", sa.JSON(none_as_null=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["step_id"], ["steps.id"], name=op.f("fk_calls_step_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("step_id", "seq", "token", name=op.f("pk_calls")),
    )
    op.create_table(
        "joins",
        sa.Column("step_id", sa.String(length=155), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("policy", sa.String(length=12), nullable=False),
        sa.Column("keep", sa.Boolean(), nullable=False),
        sa.Column("expected", sa.Integer(), nullable=False),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("succeeded", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("deadline_at", sa.Float(precision=53), nullable=True),
        sa.ForeignKeyConstraint(
            ["step_id"], ["steps.id"], name=op.f("fk_joins_step_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("step_id", name=op.f("pk_joins")),
    )
    with op.batch_alter_table("joins", schema=None) as batch_op:
        batch_op.create_index(
            "ix_joins_deadline_at",
            ["deadline_at"],
            unique=False,
            sqlite_where=sa.text("state = 'open' AND deadline_at IS NOT NULL"),
            postgresql_where=sa.text("state = 'open' AND deadline_at IS NOT NULL"),
        )


def downgrade() -> None:

    with op.batch_alter_table("joins", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_joins_deadline_at",
            sqlite_where=sa.text("state = 'open' AND deadline_at IS NOT NULL"),
            postgresql_where=sa.text("state = 'open' AND deadline_at IS NOT NULL"),
        )

    op.drop_table("joins")
    op.drop_table("calls")
    op.drop_table("workers")
    with op.batch_alter_table("steps", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_steps_unsettled",
            sqlite_where=sa.text("settled = 0 AND finished_at IS NOT NULL"),
            postgresql_where=sa.text("NOT settled AND finished_at IS NOT NULL"),
        )
        batch_op.drop_index(
            "ix_steps_running",
            sqlite_where=sa.text("state = 'running'"),
            postgresql_where=sa.text("state = 'running'"),
        )
        batch_op.drop_index("ix_steps_run_id")
        batch_op.drop_index(
            "ix_steps_ready",
            sqlite_where=sa.text("state = 'ready'"),
            postgresql_where=sa.text("state = 'ready'"),
        )
        batch_op.drop_index(
            "ix_steps_dead",
            sqlite_where=sa.text("state = 'dead'"),
            postgresql_where=sa.text("state = 'dead'"),
        )
        batch_op.drop_index(
            "ix_steps_parent_id",
            sqlite_where=sa.text("parent_id IS NOT NULL"),
            postgresql_where=sa.text("parent_id IS NOT NULL"),
        )

    op.drop_table("steps")
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.drop_index("ix_runs_created_at")

    op.drop_table("runs")
    op.drop_table("slots")
    op.drop_table("memos")
    op.drop_table("health")
    with op.batch_alter_table("events", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_events_dropped",
            sqlite_where=sa.text("kind = 'dropped'"),
            postgresql_where=sa.text("kind = 'dropped'"),
        )
        batch_op.drop_index("ix_events_run_id")

    op.drop_table("events")
    op.drop_table("duties")
    with op.batch_alter_table("dead_letters", schema=None) as batch_op:
        batch_op.drop_index("ix_dead_letters_at")

    op.drop_table("dead_letters")
    op.drop_table("agents")
