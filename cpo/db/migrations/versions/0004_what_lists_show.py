"""CDRs and sessions say in which lists of partners they stand, so that totals are of those."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_PAGE = ["partner_id", "last_updated", "id"]


def upgrade() -> None:
    for table in ("cdrs", "sessions"):
        op.add_column(
            table, sa.Column("listed", sa.SmallInteger(), nullable=False, server_default="1")
        )
    op.execute(sa.text("UPDATE cdrs SET listed = 2 WHERE credit"))
    op.execute(
        sa.text("UPDATE cdrs SET listed = 0 WHERE body LIKE :some").bindparams(some='%"hold":["%')
    )
    op.execute(sa.text("UPDATE sessions SET listed = 2 WHERE status = 'RESERVATION'"))
    for table in ("cdrs", "sessions"):
        op.drop_index(f"ix_{table}_partner_page", table_name=table)
        op.create_index(f"ix_{table}_partner_page", table, [*_PAGE, "listed"], unique=False)


def downgrade() -> None:
    for table in ("cdrs", "sessions"):
        op.drop_index(f"ix_{table}_partner_page", table_name=table)
        op.create_index(f"ix_{table}_partner_page", table, _PAGE, unique=False)
        with op.batch_alter_table(table) as altered:
            altered.drop_column("listed")
