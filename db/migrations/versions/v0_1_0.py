"""The tables of 0.1.0, which `db.models` declares: a new database is made from there and marked with this revision.

To change a table, add a revision after the newest, and keep a filled file of the older tables for its test.
"""

revision = "0.1.0"
down_revision = None


def upgrade() -> None:
    """Nothing: a database without tables never comes here (`db.schema.migrate`)."""
