"""The first tables."""

import secrets
import uuid
from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

from cpo.db.columns import UtcTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("at", UtcTime(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_index("ix_audit_page", "audit", ["at", "id"], unique=False)
    op.create_index(op.f("ix_audit_subject"), "audit", ["subject"], unique=False)
    op.create_table(
        "cdrs",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("credit", sa.Boolean(), nullable=False),
        sa.Column("country_code", sa.Text(), nullable=False),
        sa.Column("party_id", sa.Text(), nullable=False),
        sa.Column("partner_id", sa.Text(), nullable=True),
        sa.Column("ended_at", UtcTime(), nullable=False),
        sa.Column("last_updated", UtcTime(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cdrs")),
    )
    op.create_index("ix_cdrs_page", "cdrs", ["last_updated", "id"], unique=False)
    op.create_index(
        "ix_cdrs_partner_page", "cdrs", ["partner_id", "last_updated", "id"], unique=False
    )
    op.create_index("ix_cdrs_session", "cdrs", ["session_id"], unique=False)
    op.create_table(
        "commands",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("station", sa.Text(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("unfinished", sa.Boolean(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column("last_updated", UtcTime(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_commands")),
    )
    op.create_index("ix_commands_idempotency_key", "commands", ["idempotency_key"], unique=False)
    op.create_index("ix_commands_page", "commands", ["last_updated", "id"], unique=False)
    op.create_index("ix_commands_station", "commands", ["station", "created_at"], unique=False)
    op.create_index(
        "ix_commands_unfinished",
        "commands",
        ["id"],
        unique=False,
        sqlite_where=sa.text("unfinished"),
        postgresql_where=sa.text("unfinished"),
    )
    op.create_table(
        "connector_states",
        sa.Column("station", sa.Text(), nullable=False),
        sa.Column("evse_id", sa.Integer(), nullable=False),
        sa.Column("connector_id", sa.Integer(), nullable=False),
        sa.Column("availability", sa.Text(), nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.Column("received_at", UtcTime(), nullable=False),
        sa.Column("activity", sa.Text(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("info", sa.Text(), nullable=True),
        sa.Column("vendor_error_code", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint(
            "station", "evse_id", "connector_id", name=op.f("pk_connector_states")
        ),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "deliveries",
        sa.Column("partner_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("object_id", sa.Text(), nullable=False),
        sa.Column("confirmed_at", UtcTime(), nullable=False),
        sa.Column("object_updated_at", UtcTime(), nullable=True),
        sa.Column("location", sa.Text(), nullable=True),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("partner_id", "kind", "object_id", name=op.f("pk_deliveries")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "dirty_marks",
        sa.Column("partner_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("object_id", sa.Text(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("since", UtcTime(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", UtcTime(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("parked", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("partner_id", "kind", "object_id", name=op.f("pk_dirty_marks")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "evse_states",
        sa.Column("location_id", sa.Text(), nullable=False),
        sa.Column("evse_uid", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("last_updated", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("location_id", "evse_uid", name=op.f("pk_evse_states")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "instance",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("last_stamp", UtcTime(), nullable=False),
        sa.Column("restored_at", UtcTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_instance")),
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("until", UtcTime(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
    )
    op.create_table(
        "locations",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("country_code", sa.Text(), nullable=False),
        sa.Column("party_id", sa.Text(), nullable=False),
        sa.Column("last_updated", UtcTime(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_locations")),
    )
    op.create_index("ix_locations_page", "locations", ["last_updated", "id"], unique=False)
    op.create_table(
        "messages",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("station", sa.Text(), nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.Column("direction", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.Column("deviations", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_messages")),
    )
    op.create_index("ix_messages_station", "messages", ["station", "at", "id"], unique=False)
    op.create_table(
        "operator_keys",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_operator_keys")),
    )
    op.create_table(
        "orphans",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("station", sa.Text(), nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("transaction", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_orphans")),
    )
    op.create_index("ix_orphans_page", "orphans", ["at", "id"], unique=False)
    op.create_index(op.f("ix_orphans_station"), "orphans", ["station"], unique=False)
    op.create_table(
        "partners",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("sealed_token", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_partners")),
    )
    op.create_table(
        "readings",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("transaction_id", sa.Text(), nullable=False),
        sa.Column("received_at", UtcTime(), nullable=False),
        sa.Column("event_key", sa.Text(), nullable=True),
        sa.Column("samples", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_readings")),
        sa.UniqueConstraint(
            "transaction_id", "event_key", name=op.f("uq_readings_transaction_id_event_key")
        ),
    )
    op.create_table(
        "sessions",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("country_code", sa.Text(), nullable=False),
        sa.Column("party_id", sa.Text(), nullable=False),
        sa.Column("partner_id", sa.Text(), nullable=True),
        sa.Column("station", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("started_at", UtcTime(), nullable=False),
        sa.Column("last_updated", UtcTime(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sessions")),
    )
    op.create_index("ix_sessions_page", "sessions", ["last_updated", "id"], unique=False)
    op.create_index(
        "ix_sessions_partner_page", "sessions", ["partner_id", "last_updated", "id"], unique=False
    )
    op.create_index(op.f("ix_sessions_station"), "sessions", ["station"], unique=False)
    op.create_table(
        "snapshots",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_snapshots")),
    )
    op.create_table(
        "station_documents",
        sa.Column("station", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("station", "kind", "key", name=op.f("pk_station_documents")),
    )
    op.create_table(
        "station_owners",
        sa.Column("station", sa.Text(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("since", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("station", name=op.f("pk_station_owners")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_station_owners_node"), "station_owners", ["node"], unique=False)
    op.create_table(
        "stations",
        sa.Column("identity", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("identity", name=op.f("pk_stations")),
    )
    op.create_table(
        "tariffs",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("country_code", sa.Text(), nullable=False),
        sa.Column("party_id", sa.Text(), nullable=False),
        sa.Column("last_updated", UtcTime(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tariffs")),
    )
    op.create_index("ix_tariffs_page", "tariffs", ["last_updated", "id"], unique=False)
    op.create_table(
        "token_aliases",
        sa.Column("alias", sa.Text(), nullable=False),
        sa.Column("country_code", sa.Text(), nullable=False),
        sa.Column("party_id", sa.Text(), nullable=False),
        sa.Column("uid", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("alias", name=op.f("pk_token_aliases")),
    )
    op.create_table(
        "tokens",
        sa.Column("country_code", sa.Text(), nullable=False),
        sa.Column("party_id", sa.Text(), nullable=False),
        sa.Column("uid", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("partner_id", sa.Text(), nullable=True),
        sa.Column("last_updated", UtcTime(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("country_code", "party_id", "uid", "type", name=op.f("pk_tokens")),
    )
    op.create_index(
        "ix_tokens_page",
        "tokens",
        ["last_updated", "uid", "country_code", "party_id", "type"],
        unique=False,
    )
    op.create_index("ix_tokens_partner", "tokens", ["partner_id"], unique=False)
    op.create_index("ix_tokens_uid", "tokens", ["uid"], unique=False)
    op.create_table(
        "transactions",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("station", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("start_key", sa.Text(), nullable=True),
        sa.Column("phase", sa.Text(), nullable=False),
        sa.Column("started_at", UtcTime(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_transactions")),
        sa.UniqueConstraint("start_key", name=op.f("uq_transactions_start_key")),
    )
    op.create_index("ix_transactions_key", "transactions", ["key", "station"], unique=False)
    op.create_index(
        "ix_transactions_open",
        "transactions",
        ["id"],
        unique=False,
        sqlite_where=sa.text("phase <> 'ended'"),
        postgresql_where=sa.text("phase <> 'ended'"),
    )
    op.create_index(
        "ix_transactions_station", "transactions", ["station", "started_at"], unique=False
    )
    op.create_index(
        "uq_transactions_given_key",
        "transactions",
        ["key"],
        unique=True,
        sqlite_where=sa.text("start_key IS NOT NULL"),
        postgresql_where=sa.text("start_key IS NOT NULL"),
    )
    op.create_table(
        "wire_texts",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("form", sa.Text(), nullable=False),
        sa.Column("object_id", sa.Text(), nullable=False),
        sa.Column("object_updated_at", UtcTime(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "form", "object_id", name=op.f("pk_wire_texts")),
        sqlite_with_rowid=False,
    )
    # ### end Alembic commands ###
    instance = sa.table(
        "instance", sa.column("id"), sa.column("secret"), sa.column("last_stamp", UtcTime())
    )
    # Ids are derived with this secret; it lives in the database so that a restored one goes on
    # giving the same ids for the same facts.
    secret = str(uuid.UUID(bytes=secrets.token_bytes(16), version=4))
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    op.bulk_insert(instance, [{"id": 1, "secret": secret, "last_stamp": epoch}])


def downgrade() -> None:
    op.drop_table("wire_texts")
    op.drop_index(
        "uq_transactions_given_key",
        table_name="transactions",
        sqlite_where=sa.text("start_key IS NOT NULL"),
        postgresql_where=sa.text("start_key IS NOT NULL"),
    )
    op.drop_index("ix_transactions_station", table_name="transactions")
    op.drop_index(
        "ix_transactions_open",
        table_name="transactions",
        sqlite_where=sa.text("phase <> 'ended'"),
        postgresql_where=sa.text("phase <> 'ended'"),
    )
    op.drop_index("ix_transactions_key", table_name="transactions")
    op.drop_table("transactions")
    op.drop_index("ix_tokens_uid", table_name="tokens")
    op.drop_index("ix_tokens_partner", table_name="tokens")
    op.drop_index("ix_tokens_page", table_name="tokens")
    op.drop_table("tokens")
    op.drop_table("token_aliases")
    op.drop_index("ix_tariffs_page", table_name="tariffs")
    op.drop_table("tariffs")
    op.drop_table("stations")
    op.drop_index(op.f("ix_station_owners_node"), table_name="station_owners")
    op.drop_table("station_owners")
    op.drop_table("station_documents")
    op.drop_table("snapshots")
    op.drop_index(op.f("ix_sessions_station"), table_name="sessions")
    op.drop_index("ix_sessions_partner_page", table_name="sessions")
    op.drop_index("ix_sessions_page", table_name="sessions")
    op.drop_table("sessions")
    op.drop_table("readings")
    op.drop_table("partners")
    op.drop_index(op.f("ix_orphans_station"), table_name="orphans")
    op.drop_index("ix_orphans_page", table_name="orphans")
    op.drop_table("orphans")
    op.drop_table("operator_keys")
    op.drop_index("ix_messages_station", table_name="messages")
    op.drop_table("messages")
    op.drop_index("ix_locations_page", table_name="locations")
    op.drop_table("locations")
    op.drop_table("leases")
    op.drop_table("instance")
    op.drop_table("evse_states")
    op.drop_table("dirty_marks")
    op.drop_table("deliveries")
    op.drop_table("connector_states")
    op.drop_index(
        "ix_commands_unfinished",
        table_name="commands",
        sqlite_where=sa.text("unfinished"),
        postgresql_where=sa.text("unfinished"),
    )
    op.drop_index("ix_commands_station", table_name="commands")
    op.drop_index("ix_commands_page", table_name="commands")
    op.drop_index("ix_commands_idempotency_key", table_name="commands")
    op.drop_table("commands")
    op.drop_index("ix_cdrs_session", table_name="cdrs")
    op.drop_index("ix_cdrs_partner_page", table_name="cdrs")
    op.drop_index("ix_cdrs_page", table_name="cdrs")
    op.drop_table("cdrs")
    op.drop_index(op.f("ix_audit_subject"), table_name="audit")
    op.drop_index("ix_audit_page", table_name="audit")
    op.drop_table("audit")
    # ### end Alembic commands ###
