"""guidelines by version, and how strong a choice was.

Revision 0003, after 0002.
"""

import sqlalchemy as sa
from alembic import op

revision = '0003'
down_revision = '0002'
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply. Columns are added and dropped in place: rebuilding a table on SQLite would lose its checks."""
    op.create_table(
        'guideline',
        sa.Column('id', sa.Integer(), nullable=False),
        sa.Column('project_id', sa.Integer(), nullable=False),
        sa.Column('version', sa.Integer(), nullable=False),
        sa.Column('text', sa.Text(), nullable=False),
        sa.Column('created_by_id', sa.Integer(), nullable=True),
        sa.Column('created_at', sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(['created_by_id'], ['reviewer.id'], name=op.f('fk_guideline_created_by_id')),
        sa.ForeignKeyConstraint(['project_id'], ['project.id'], name=op.f('fk_guideline_project_id')),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_guideline')),
        sa.UniqueConstraint('project_id', 'version', name=op.f('uq_guideline_project_id_version')),
    )
    op.execute(
        "INSERT INTO guideline (project_id, version, text, created_at) "
        "SELECT id, 1, guideline, created_at FROM project WHERE trim(guideline) <> ''"
    )
    op.execute("ALTER TABLE project DROP COLUMN guideline")
    op.execute(
        "ALTER TABLE ranking ADD COLUMN strength INTEGER CONSTRAINT ck_ranking_strength CHECK (strength IN (1, 2))"
    )
    op.execute(
        "ALTER TABLE ranking ADD COLUMN guideline_id INTEGER CONSTRAINT fk_ranking_guideline_id REFERENCES guideline (id)"
    )


def downgrade() -> None:
    """Take back."""
    raise NotImplementedError("Restore the copy of the database that was made before the update.")
