"""CDRs say whether they wait for the operator, so that the hold queue can be listed."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_SQLITE, _POSTGRES = sa.text("held = 1"), sa.text("held")


def upgrade() -> None:
    op.add_column(
        "cdrs", sa.Column("held", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.execute(
        sa.text(
            "UPDATE cdrs SET held = :held WHERE body LIKE :some AND body NOT LIKE :suppressed"
        ).bindparams(
            sa.bindparam("held", True, sa.Boolean()),
            some='%"hold":["%',
            suppressed='%"hold":["suppressed_by_policy"]%',
        )
    )
    op.create_index(
        "ix_cdrs_held",
        "cdrs",
        ["last_updated", "id"],
        unique=False,
        sqlite_where=_SQLITE,
        postgresql_where=_POSTGRES,
    )


def downgrade() -> None:
    op.drop_index(
        "ix_cdrs_held", table_name="cdrs", sqlite_where=_SQLITE, postgresql_where=_POSTGRES
    )
    with op.batch_alter_table("cdrs") as table:
        table.drop_column("held")
