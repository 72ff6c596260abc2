"""Steps that wait for a person are found by themselves"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_WAITING = "task = 'agents.approval' AND state = 'waiting'"


def upgrade() -> None:
    op.create_index(
        "ix_steps_asking",
        "steps",
        ["created_at"],
        sqlite_where=sa.text(_WAITING),
        postgresql_where=sa.text(_WAITING),
    )


def downgrade() -> None:
    op.drop_index("ix_steps_asking", "steps")
