"""How steps went whose inputs are kept, to learn from; an index that has all of a term"""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

_KEY = "space_id, term, place"
_KEPT = sa.text("experience IS NOT NULL")


def upgrade() -> None:
    op.add_column("memories", sa.Column("experience", sa.JSON(none_as_null=True), nullable=True))
    op.create_index(
        "ix_memories_experience",
        "memories",
        ["run_id"],
        sqlite_where=_KEPT,
        postgresql_where=_KEPT,
    )
    _key(f"({_KEY}) INCLUDE (times, length)")


def _key(columns: str) -> None:
    """Put another index in the place of that of the key of terms; SQLite's is the table itself.

    A question reads thousands of rows of a term, which lie far from each other in the table.
    """
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"CREATE UNIQUE INDEX ix_memory_terms_key ON memory_terms {columns}")
        op.execute(
            "ALTER TABLE memory_terms DROP CONSTRAINT pk_memory_terms, "
            "ADD CONSTRAINT pk_memory_terms PRIMARY KEY USING INDEX ix_memory_terms_key"
        )


def downgrade() -> None:
    _key(f"({_KEY})")
    op.drop_index("ix_memories_experience", "memories")
    op.drop_column("memories", "experience")
