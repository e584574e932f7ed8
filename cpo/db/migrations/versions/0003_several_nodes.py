"""Several nodes: who is alive, what changed lately, where a station is connected."""

import sqlalchemy as sa
from alembic import op

from cpo.db.columns import UtcTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "nodes",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("beat", sa.BigInteger(), nullable=False),
        sa.Column("since", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_nodes")),
    )
    op.create_table(
        "changes",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("last_updated", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "key", name=op.f("pk_changes")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_changes_last_updated"), "changes", ["last_updated"], unique=False)
    op.add_column(
        "station_owners", sa.Column("online", sa.Text(), server_default="", nullable=False)
    )


def downgrade() -> None:
    op.drop_column("station_owners", "online")
    op.drop_index(op.f("ix_changes_last_updated"), table_name="changes")
    op.drop_table("changes")
    op.drop_table("nodes")
