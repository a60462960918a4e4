"""a manager's decision between rankings.

Revision 0005, after 0004.
"""

import sqlalchemy as sa
from alembic import op

revision = '0005'
down_revision = '0004'
branch_labels = None
depends_on = None

STANDING = sa.text("undone_at IS NULL")
ADJUDICATION = sa.text("undone_at IS NULL AND adjudicates")


def upgrade() -> None:
    """Apply."""
    op.add_column('ranking', sa.Column('adjudicates', sa.Boolean(), nullable=False, server_default=sa.false()))
    op.drop_index('uq_ranking_standing', 'ranking')
    op.create_index(
        'uq_ranking_standing',
        'ranking',
        ['comparison_id', 'reviewer_id', 'adjudicates'],
        unique=True,
        sqlite_where=STANDING,
        postgresql_where=STANDING,
    )
    op.create_index(
        'uq_ranking_adjudication',
        'ranking',
        ['comparison_id'],
        unique=True,
        sqlite_where=ADJUDICATION,
        postgresql_where=ADJUDICATION,
    )


def downgrade() -> None:
    """Take back."""
    raise NotImplementedError("Restore the copy of the database that was made before the update.")
