"""The adapter towards the database: SQLite and PostgreSQL."""
