"""models as judges, second looks, public benchmarks, corrections wanted because a model failed on prompts like these.

Revision 0012, after 0011.
"""

import sqlalchemy as sa
from alembic import op

revision = '0012'
down_revision = '0011'
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        'judge_run',
        sa.Column('id', sa.Integer(), nullable=False),
        sa.Column('project_id', sa.Integer(), nullable=False),
        sa.Column('evaluation_id', sa.Integer(), nullable=False),
        sa.Column('responder_id', sa.Integer(), nullable=False),
        sa.Column('requested_by_id', sa.Integer(), nullable=False),
        sa.Column('status', sa.Enum('QUEUED', 'RUNNING', 'SUCCEEDED', 'FAILED', 'CANCELLED', name='runstatus',
                                    native_enum=False, create_constraint=True, length=20), nullable=False),
        sa.Column('cancel_requested', sa.Boolean(), nullable=False),
        sa.Column('paused', sa.Boolean(), server_default=sa.text('false'), nullable=False),
        sa.Column('attempt', sa.Integer(), nullable=False),
        sa.Column('worker', sa.Text(), nullable=True),
        sa.Column('process_group', sa.Integer(), nullable=True),
        sa.Column('process_started', sa.Double(), nullable=True),
        sa.Column('boot_id', sa.Text(), nullable=True),
        sa.Column('beat_at', sa.DateTime(), nullable=True),
        sa.Column('stage', sa.Text(), nullable=False),
        sa.Column('done', sa.Integer(), nullable=False),
        sa.Column('total', sa.Integer(), nullable=False),
        sa.Column('error', sa.Text(), nullable=True),
        sa.Column('created_at', sa.DateTime(), nullable=False),
        sa.Column('started_at', sa.DateTime(), nullable=True),
        sa.Column('finished_at', sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(['evaluation_id'], ['evaluation.id'], name=op.f('fk_judge_run_evaluation_id')),
        sa.ForeignKeyConstraint(['project_id'], ['project.id'], name=op.f('fk_judge_run_project_id')),
        sa.ForeignKeyConstraint(['requested_by_id'], ['reviewer.id'], name=op.f('fk_judge_run_requested_by_id')),
        sa.ForeignKeyConstraint(['responder_id'], ['responder.id'], name=op.f('fk_judge_run_responder_id')),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_judge_run')),
    )
    op.create_table(
        'judge_verdict',
        sa.Column('run_id', sa.Integer(), nullable=False),
        sa.Column('candidate_response_id', sa.Integer(), nullable=False),
        sa.Column('baseline_response_id', sa.Integer(), nullable=False),
        sa.Column('candidate_left', sa.Boolean(), nullable=False),
        sa.Column('verdict', sa.Enum('LEFT', 'RIGHT', 'TIE', 'BOTH_BAD', name='verdict', native_enum=False,
                                     create_constraint=True, length=20), nullable=True),
        sa.Column('said', sa.Text(), nullable=False),
        sa.Column('created_at', sa.DateTime(), nullable=False),
        sa.CheckConstraint(
            'candidate_response_id <> baseline_response_id', name=op.f('ck_judge_verdict_two_responses')
        ),
        sa.ForeignKeyConstraint(
            ['baseline_response_id'], ['response.id'], name=op.f('fk_judge_verdict_baseline_response_id')
        ),
        sa.ForeignKeyConstraint(
            ['candidate_response_id'], ['response.id'], name=op.f('fk_judge_verdict_candidate_response_id')
        ),
        sa.ForeignKeyConstraint(['run_id'], ['judge_run.id'], name=op.f('fk_judge_verdict_run_id')),
        sa.PrimaryKeyConstraint(
            'run_id', 'candidate_response_id', 'baseline_response_id', 'candidate_left', name=op.f('pk_judge_verdict')
        ),
    )
    op.create_table(
        'benchmark_run',
        sa.Column('id', sa.Integer(), nullable=False),
        sa.Column('project_id', sa.Integer(), nullable=False),
        sa.Column('model_version_id', sa.Integer(), nullable=False),
        sa.Column('tasks', sa.JSON(), nullable=False),
        sa.Column('examples', sa.Integer(), nullable=True),
        sa.Column('quantised', sa.Boolean(), nullable=False),
        sa.Column('measured_by', sa.Text(), nullable=True),
        sa.Column('requested_by_id', sa.Integer(), nullable=False),
        sa.Column('status', sa.Enum('QUEUED', 'RUNNING', 'SUCCEEDED', 'FAILED', 'CANCELLED', name='runstatus',
                                    native_enum=False, create_constraint=True, length=20), nullable=False),
        sa.Column('cancel_requested', sa.Boolean(), nullable=False),
        sa.Column('paused', sa.Boolean(), server_default=sa.text('false'), nullable=False),
        sa.Column('attempt', sa.Integer(), nullable=False),
        sa.Column('worker', sa.Text(), nullable=True),
        sa.Column('process_group', sa.Integer(), nullable=True),
        sa.Column('process_started', sa.Double(), nullable=True),
        sa.Column('boot_id', sa.Text(), nullable=True),
        sa.Column('beat_at', sa.DateTime(), nullable=True),
        sa.Column('stage', sa.Text(), nullable=False),
        sa.Column('done', sa.Integer(), nullable=False),
        sa.Column('total', sa.Integer(), nullable=False),
        sa.Column('error', sa.Text(), nullable=True),
        sa.Column('created_at', sa.DateTime(), nullable=False),
        sa.Column('started_at', sa.DateTime(), nullable=True),
        sa.Column('finished_at', sa.DateTime(), nullable=True),
        sa.CheckConstraint('examples > 0', name=op.f('ck_benchmark_run_examples')),
        sa.ForeignKeyConstraint(
            ['model_version_id'], ['model_version.id'], name=op.f('fk_benchmark_run_model_version_id')
        ),
        sa.ForeignKeyConstraint(['project_id'], ['project.id'], name=op.f('fk_benchmark_run_project_id')),
        sa.ForeignKeyConstraint(['requested_by_id'], ['reviewer.id'], name=op.f('fk_benchmark_run_requested_by_id')),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_benchmark_run')),
    )
    op.create_table(
        'benchmark_score',
        sa.Column('run_id', sa.Integer(), nullable=False),
        sa.Column('task', sa.Text(), nullable=False),
        sa.Column('metric', sa.Text(), nullable=False),
        sa.Column('value', sa.Double(), nullable=False),
        sa.Column('standard_error', sa.Double(), nullable=True),
        sa.Column('examples', sa.Integer(), nullable=False),
        sa.Column('higher_is_better', sa.Boolean(), nullable=False),
        sa.Column('by_example', sa.JSON(), nullable=True),
        sa.ForeignKeyConstraint(['run_id'], ['benchmark_run.id'], name=op.f('fk_benchmark_score_run_id')),
        sa.PrimaryKeyConstraint('run_id', 'task', 'metric', name=op.f('pk_benchmark_score')),
    )
    op.create_table(
        'wanted_correction',
        sa.Column('prompt_id', sa.Integer(), nullable=False),
        sa.Column('pairing_id', sa.Integer(), nullable=False),
        sa.Column('requested_by_id', sa.Integer(), nullable=False),
        sa.Column('created_at', sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(['pairing_id'], ['pairing.id'], name=op.f('fk_wanted_correction_pairing_id')),
        sa.ForeignKeyConstraint(['prompt_id'], ['prompt.id'], name=op.f('fk_wanted_correction_prompt_id')),
        sa.ForeignKeyConstraint(
            ['requested_by_id'], ['reviewer.id'], name=op.f('fk_wanted_correction_requested_by_id')
        ),
        sa.PrimaryKeyConstraint('prompt_id', 'pairing_id', name=op.f('pk_wanted_correction')),
    )
    op.create_table(
        'second_look',
        sa.Column('judgment_id', sa.Integer(), nullable=False),
        sa.Column('candidate_left', sa.Boolean(), nullable=False),
        sa.Column('verdict', sa.Enum('LEFT', 'RIGHT', 'TIE', 'BOTH_BAD', name='verdict', native_enum=False,
                                     create_constraint=True, length=20), nullable=True),
        sa.Column('drawn_at', sa.DateTime(), nullable=False),
        sa.Column('judged_at', sa.DateTime(), nullable=True),
        sa.Column('seconds', sa.Double(), nullable=True),
        sa.CheckConstraint(
            '(verdict IS NULL) = (judged_at IS NULL)', name=op.f('ck_second_look_judged_has_verdict')
        ),
        sa.ForeignKeyConstraint(['judgment_id'], ['judgment.id'], name=op.f('fk_second_look_judgment_id')),
        sa.PrimaryKeyConstraint('judgment_id', name=op.f('pk_second_look')),
    )
    for table in ('judge_run', 'benchmark_run'):
        for column in ('project_id', 'status'):
            op.create_index(f'ix_{table}_{column}', table, [column])
    op.create_index('ix_judge_run_evaluation_id', 'judge_run', ['evaluation_id'])
    op.create_index('ix_benchmark_run_model_version_id', 'benchmark_run', ['model_version_id'])


def downgrade() -> None:
    """Take back."""
    raise NotImplementedError(
        "Restore the copy of the database that was made before the update: SQLite's lies beside the file, PostgreSQL's "
        "is the one that you make."
    )
