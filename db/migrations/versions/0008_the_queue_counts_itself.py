"""stored counts for the queue, hidden repeats, gold pairs, chains of corrections, drafts, reveals, the audit trail.

Revision 0008, after 0007.
"""

import sqlalchemy as sa
from alembic import op

revision = '0008'
down_revision = '0007'
branch_labels = None
depends_on = None

STATES = "state IN ('OPEN', 'FULL', 'AWAY')"
DRAWN = "drawn IN ('RANDOM', 'UNCERTAIN', 'GOLD', 'REPEAT', 'NONE')"
NEXT_BY = "next_by IN ('RANDOM', 'UNCERTAIN')"
OWN = (
    "r.comparison_id = comparison.id AND r.undone_at IS NULL AND r.adjudicates = false "
    "AND (SELECT v.simulated FROM reviewer v WHERE v.id = r.reviewer_id) = false"
)
COLUMNS = (
    "comparison ADD COLUMN draw INTEGER NOT NULL DEFAULT 0",
    f"comparison ADD COLUMN state VARCHAR(20) NOT NULL DEFAULT 'OPEN' CONSTRAINT ck_comparison_comparisonstate "
    f"CHECK ({STATES})",
    "comparison ADD COLUMN people INTEGER NOT NULL DEFAULT 0",
    "comparison ADD COLUMN contested BOOLEAN NOT NULL DEFAULT false",
    "comparison ADD COLUMN near_identical BOOLEAN NOT NULL DEFAULT false",
    "comparison ADD COLUMN gold BOOLEAN NOT NULL DEFAULT false",
    f"ranking ADD COLUMN drawn VARCHAR(20) NOT NULL DEFAULT 'RANDOM' CONSTRAINT ck_ranking_drawn CHECK ({DRAWN})",
    f"lease ADD COLUMN drawn VARCHAR(20) NOT NULL DEFAULT 'RANDOM' CONSTRAINT ck_lease_drawn CHECK ({DRAWN})",
    "correction ADD COLUMN parent_id INTEGER CONSTRAINT fk_correction_parent_id REFERENCES correction (id)",
    f"project ADD COLUMN next_by VARCHAR(20) NOT NULL DEFAULT 'RANDOM' CONSTRAINT ck_project_nextby CHECK ({NEXT_BY})",
    "project ADD COLUMN authors_rank BOOLEAN NOT NULL DEFAULT false",
)
FILL = (
    "UPDATE ranking SET drawn = 'NONE' WHERE prompt_set_id IS NOT NULL OR adjudicates = true",
    "UPDATE comparison SET draw = (CAST(id AS BIGINT) * 7919) % 104729",
    f"UPDATE comparison SET people = (SELECT count(*) FROM ranking r WHERE {OWN})",
    f"""UPDATE comparison SET contested = true WHERE people > 1 AND (
        (SELECT count(DISTINCT r.both_bad) FROM ranking r WHERE {OWN}) > 1
        OR EXISTS (
            SELECT 1 FROM ranking r JOIN ranking q ON q.comparison_id = r.comparison_id
            JOIN placement r1 ON r1.ranking_id = r.id JOIN placement r2 ON r2.ranking_id = r.id
            JOIN placement q1 ON q1.ranking_id = q.id AND q1.response_id = r1.response_id
            JOIN placement q2 ON q2.ranking_id = q.id AND q2.response_id = r2.response_id
            WHERE {OWN} AND {OWN.replace("r.", "q.")} AND r1.place < r2.place AND q1.place > q2.place))""",
    """UPDATE comparison SET state = 'FULL' WHERE people >= (
        SELECT CASE WHEN p.people_wanted IS NULL THEN 1000000000
            WHEN (CAST(comparison.id AS BIGINT) * 7919) % 1009 < p.overlap_share * 1009 THEN p.people_wanted ELSE 1 END
        FROM project p WHERE p.id = comparison.project_id)""",
    # two to six responses fit a screen; the key lists them
    "UPDATE comparison SET state = 'AWAY' WHERE discarded_at IS NOT NULL OR key NOT LIKE '%,%' "
    "OR key LIKE '%,%,%,%,%,%,%'",
)
NEVER = "The audit trail is only ever added to."


def upgrade() -> None:
    """Apply. Columns are added in place: rebuilding a table on SQLite would lose its checks."""
    op.create_table(
        'change',
        sa.Column('id', sa.Integer(), nullable=False),
        sa.Column('project_id', sa.Integer(), nullable=True),
        sa.Column('comparison_id', sa.Integer(), nullable=True),
        sa.Column('response_id', sa.Integer(), nullable=True),
        sa.Column('reviewer_id', sa.Integer(), nullable=True),
        sa.Column('table', sa.Text(), nullable=False),
        sa.Column('row', sa.Text(), nullable=False),
        sa.Column('before', sa.JSON(), nullable=True),
        sa.Column('after', sa.JSON(), nullable=True),
        sa.Column('created_at', sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(['reviewer_id'], ['reviewer.id'], name=op.f('fk_change_reviewer_id')),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_change')),
    )
    for column in ('comparison_id', 'project_id', 'response_id'):
        op.create_index(op.f(f'ix_change_{column}'), 'change', [column])
    op.create_table(
        'draft',
        sa.Column('id', sa.Integer(), nullable=False),
        sa.Column('reviewer_id', sa.Integer(), nullable=False),
        sa.Column('prompt_id', sa.Integer(), nullable=False),
        sa.Column('response_id', sa.Integer(), nullable=True),
        sa.Column('parent_id', sa.Integer(), nullable=True),
        sa.Column('text', sa.Text(), nullable=False),
        sa.Column('saved_at', sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(['parent_id'], ['correction.id'], name=op.f('fk_draft_parent_id')),
        sa.ForeignKeyConstraint(['prompt_id'], ['prompt.id'], name=op.f('fk_draft_prompt_id')),
        sa.ForeignKeyConstraint(['response_id'], ['response.id'], name=op.f('fk_draft_response_id')),
        sa.ForeignKeyConstraint(['reviewer_id'], ['reviewer.id'], name=op.f('fk_draft_reviewer_id')),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_draft')),
    )
    for name, column, where in (
        ('reply', 'prompt_id', "response_id IS NULL"),
        ('correction', 'response_id', "response_id IS NOT NULL AND parent_id IS NULL"),
        ('further', 'parent_id', "parent_id IS NOT NULL"),
    ):
        only = sa.text(where)
        op.create_index(
            f'uq_draft_{name}',
            'draft',
            ['reviewer_id', column],
            unique=True,
            sqlite_where=only,
            postgresql_where=only,
        )
    op.create_table(
        'reveal',
        sa.Column('comparison_id', sa.Integer(), nullable=False),
        sa.Column('reviewer_id', sa.Integer(), nullable=False),
        sa.Column('created_at', sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(['comparison_id'], ['comparison.id'], name=op.f('fk_reveal_comparison_id')),
        sa.ForeignKeyConstraint(['reviewer_id'], ['reviewer.id'], name=op.f('fk_reveal_reviewer_id')),
        sa.PrimaryKeyConstraint('comparison_id', 'reviewer_id', name=op.f('pk_reveal')),
    )
    op.add_column('project', sa.Column('repeat_share', sa.Double(), nullable=False, server_default='0'))
    for column in COLUMNS:
        op.execute(f"ALTER TABLE {column}")
    for filling in FILL:
        op.execute(filling)
    op.create_index('ix_comparison_breadth', 'comparison', ['project_id', 'state', 'people', 'draw'])
    op.create_index('ix_comparison_draw', 'comparison', ['project_id', 'state', 'draw'])
    for column in ('contested', 'gold'):
        op.create_index(f'ix_comparison_{column}', 'comparison', ['project_id', column])
    op.create_index(op.f('ix_ranking_comparison_id'), 'ranking', ['comparison_id'])
    op.create_index(op.f('ix_correction_parent_id'), 'correction', ['parent_id'])
    op.create_index(op.f("ix_lease_reviewer_id"), "lease", ["reviewer_id"])
    op.create_index(
        "ix_ranking_standing_of", "ranking", ["reviewer_id", "undone_at", "adjudicates", "drawn", "comparison_id"]
    )
    op.drop_index('uq_ranking_standing', table_name='ranking')
    for name, columns, where in (
        ('uq_ranking_standing', ['comparison_id', 'reviewer_id', 'adjudicates'], "drawn <> 'REPEAT'"),
        ('uq_ranking_repeat', ['comparison_id', 'reviewer_id'], "drawn = 'REPEAT'"),
    ):
        standing = sa.text(f"undone_at IS NULL AND {where}")
        op.create_index(
            name, 'ranking', columns, unique=True, sqlite_where=standing, postgresql_where=standing
        )
    _only_added_to()


def _only_added_to() -> None:
    """The database itself refuses to change or delete what the audit trail says."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION change_is_kept() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE EXCEPTION '{NEVER}'; END $$"
        )
        op.execute(
            "CREATE TRIGGER change_is_kept BEFORE UPDATE OR DELETE ON change "
            "FOR EACH ROW EXECUTE FUNCTION change_is_kept()"
        )
        return
    for verb in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER change_no_{verb.lower()} BEFORE {verb} ON change "
            f"BEGIN SELECT RAISE(ABORT, '{NEVER}'); END"
        )


def downgrade() -> None:
    """Take back."""
    raise NotImplementedError("Restore the copy of the database that was made before the update.")
