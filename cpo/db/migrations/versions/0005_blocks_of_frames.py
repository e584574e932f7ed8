"""The frame log is looked up by blocks of ids: its index grows at its end."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_messages_station", table_name="messages")
    op.create_index(
        "ix_messages_block", "messages", [sa.text("(id >> 10)"), "station", "at"], unique=False
    )


def downgrade() -> None:
    op.drop_index("ix_messages_block", table_name="messages")
    op.create_index("ix_messages_station", "messages", ["station", "at", "id"], unique=False)
