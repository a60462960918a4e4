"""a protocol that nobody changes: wanted verdicts, guesses, comments, tags, early closing, looks at open evaluations.

Revision 0011, after 0010.
"""

import sqlalchemy as sa
from alembic import op

revision = '0011'
down_revision = '0010'
branch_labels = None
depends_on = None

COLUMNS = (
    "evaluation ADD COLUMN protocol TEXT",
    "evaluation ADD COLUMN closed_early TEXT",
    "pairing ADD COLUMN wanted INTEGER CONSTRAINT ck_pairing_wanted CHECK (wanted >= 0)",
    "judgment ADD COLUMN guess VARCHAR(20) CONSTRAINT ck_judgment_guess "
    "CHECK (guess IN ('LEFT', 'RIGHT', 'CANNOT_TELL'))",
    "judgment ADD COLUMN comment TEXT CONSTRAINT ck_judgment_guess_after_verdict "
    "CHECK (guess IS NULL OR verdict IS NOT NULL)",
)
FIXED = ("project_id", "candidate_id", "seed", "protocol", "protocol_sha256", "created_by_id", "created_at")
NEVER = "A protocol is fixed before the first judgment and never changed: set up a new evaluation."
CLOSED = "A closed evaluation stays closed."


def upgrade() -> None:
    """Apply. Columns are added in place: rebuilding a table on SQLite would lose its checks."""
    op.create_table(
        'tag',
        sa.Column('judgment_id', sa.Integer(), nullable=False),
        sa.Column('label', sa.Text(), nullable=False),
        sa.Column('praise', sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(['judgment_id'], ['judgment.id'], name=op.f('fk_tag_judgment_id')),
        sa.PrimaryKeyConstraint('judgment_id', 'label', name=op.f('pk_tag')),
    )
    op.create_table(
        'peek',
        sa.Column('evaluation_id', sa.Integer(), nullable=False),
        sa.Column('reviewer_id', sa.Integer(), nullable=False),
        sa.Column('created_at', sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(['evaluation_id'], ['evaluation.id'], name=op.f('fk_peek_evaluation_id')),
        sa.ForeignKeyConstraint(['reviewer_id'], ['reviewer.id'], name=op.f('fk_peek_reviewer_id')),
        sa.PrimaryKeyConstraint('evaluation_id', 'reviewer_id', name=op.f('pk_peek')),
    )
    for added in COLUMNS:
        op.execute(f"ALTER TABLE {added}")
    _fixed()


def _fixed() -> None:
    """The database itself refuses to change a protocol or its pairings, and to add one once judging has begun."""
    judged = (
        "EXISTS (SELECT 1 FROM judgment j JOIN pairing p ON p.id = j.pairing_id "
        "JOIN evaluation e ON e.id = p.evaluation_id "
        "WHERE p.evaluation_id = NEW.evaluation_id AND e.protocol IS NOT NULL)"
    )
    if op.get_bind().dialect.name == "postgresql":
        changed = " OR ".join(f"OLD.{column} IS DISTINCT FROM NEW.{column}" for column in FIXED)
        closed = " OR ".join(f"OLD.{column} IS DISTINCT FROM NEW.{column}" for column in ("closed_at", "closed_early"))
        for name, sentence in (("protocol_is_kept", NEVER), ("evaluation_stays_closed", CLOSED)):
            op.execute(
                f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS "
                f"$$ BEGIN RAISE EXCEPTION '{sentence}'; END $$"
            )
        for name, when, function in (
            ("evaluation_kept", f"UPDATE ON evaluation FOR EACH ROW WHEN ({changed})", "protocol_is_kept"),
            ("evaluation_not_deleted", "DELETE ON evaluation FOR EACH ROW", "protocol_is_kept"),
            (
                "evaluation_closed",
                f"UPDATE ON evaluation FOR EACH ROW WHEN (OLD.closed_at IS NOT NULL AND ({closed}))",
                "evaluation_stays_closed",
            ),
            ("pairing_kept", "UPDATE OR DELETE ON pairing FOR EACH ROW", "protocol_is_kept"),
        ):
            op.execute(f"CREATE TRIGGER {name} BEFORE {when} EXECUTE FUNCTION {function}()")
        op.execute(
            "CREATE FUNCTION pairing_is_late() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN IF {judged} THEN RAISE EXCEPTION '{NEVER}'; END IF; RETURN NEW; END $$"
        )
        op.execute(
            "CREATE TRIGGER pairing_late BEFORE INSERT ON pairing FOR EACH ROW EXECUTE FUNCTION pairing_is_late()"
        )
        return
    changed = " OR ".join(f"OLD.{column} IS NOT NEW.{column}" for column in FIXED)
    closed = " OR ".join(f"OLD.{column} IS NOT NEW.{column}" for column in ("closed_at", "closed_early"))
    for name, when, sentence in (
        ("evaluation_kept", f"UPDATE ON evaluation WHEN {changed}", NEVER),
        ("evaluation_not_deleted", "DELETE ON evaluation", NEVER),
        ("evaluation_closed", f"UPDATE ON evaluation WHEN OLD.closed_at IS NOT NULL AND ({closed})", CLOSED),
        ("pairing_kept", "UPDATE ON pairing", NEVER),
        ("pairing_not_deleted", "DELETE ON pairing", NEVER),
        ("pairing_late", f"INSERT ON pairing WHEN {judged}", NEVER),
    ):
        op.execute(f"CREATE TRIGGER {name} BEFORE {when} BEGIN SELECT RAISE(ABORT, '{sentence}'); END")


def downgrade() -> None:
    """Take back."""
    raise NotImplementedError(
        "Restore the copy of the database that was made before the update: SQLite's lies beside the file, PostgreSQL's "
        "is the one that you make."
    )
