"""how many people rank each pair, and leases.

Revision 0006, after 0005.
"""

import sqlalchemy as sa
from alembic import op

revision = '0006'
down_revision = '0005'
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        'lease',
        sa.Column('comparison_id', sa.Integer(), nullable=False),
        sa.Column('reviewer_id', sa.Integer(), nullable=False),
        sa.Column('until', sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(['comparison_id'], ['comparison.id'], name=op.f('fk_lease_comparison_id')),
        sa.ForeignKeyConstraint(['reviewer_id'], ['reviewer.id'], name=op.f('fk_lease_reviewer_id')),
        sa.PrimaryKeyConstraint('comparison_id', 'reviewer_id', name=op.f('pk_lease')),
    )
    op.add_column('project', sa.Column('people_wanted', sa.Integer(), nullable=True))
    op.add_column('project', sa.Column('overlap_share', sa.Double(), nullable=False, server_default='1'))


def downgrade() -> None:
    """Take back."""
    raise NotImplementedError("Restore the copy of the database that was made before the update.")
