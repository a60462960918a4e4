"""flags, and pairs that were discarded.

Revision 0007, after 0006.
"""

import sqlalchemy as sa
from alembic import op

revision = '0007'
down_revision = '0006'
branch_labels = None
depends_on = None

OPEN = sa.text("settled_at IS NULL")


def upgrade() -> None:
    """Apply. The columns are added in place: rebuilding a table on SQLite would lose its checks."""
    op.create_table(
        'flag',
        sa.Column('id', sa.Integer(), nullable=False),
        sa.Column('comparison_id', sa.Integer(), nullable=False),
        sa.Column('reviewer_id', sa.Integer(), nullable=False),
        sa.Column('note', sa.Text(), nullable=False),
        sa.Column('created_at', sa.DateTime(), nullable=False),
        sa.Column('settled_at', sa.DateTime(), nullable=True),
        sa.Column('settled_by_id', sa.Integer(), nullable=True),
        sa.CheckConstraint("trim(note) <> ''", name=op.f('ck_flag_not_empty')),
        sa.ForeignKeyConstraint(['comparison_id'], ['comparison.id'], name=op.f('fk_flag_comparison_id')),
        sa.ForeignKeyConstraint(['reviewer_id'], ['reviewer.id'], name=op.f('fk_flag_reviewer_id')),
        sa.ForeignKeyConstraint(['settled_by_id'], ['reviewer.id'], name=op.f('fk_flag_settled_by_id')),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_flag')),
    )
    op.create_index(
        'uq_flag_open',
        'flag',
        ['comparison_id', 'reviewer_id'],
        unique=True,
        sqlite_where=OPEN,
        postgresql_where=OPEN,
    )
    op.add_column('comparison', sa.Column('discarded_at', sa.DateTime(), nullable=True))
    op.execute(
        "ALTER TABLE comparison ADD COLUMN discarded_by_id INTEGER "
        "CONSTRAINT fk_comparison_discarded_by_id REFERENCES reviewer (id)"
    )


def downgrade() -> None:
    """Take back."""
    raise NotImplementedError("Restore the copy of the database that was made before the update.")
