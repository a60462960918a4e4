"""training to trust: chosen feedback, thumbs, methods, losses, adapters, samples, warnings, timings, learning curves.

Revision 0010, after 0009.
"""

import sqlalchemy as sa
from alembic import op

revision = '0010'
down_revision = '0009'
branch_labels = None
depends_on = None

OLD_METHODS = "CHECK (method IN ('DPO'))"
METHODS = "CHECK (method IN ('SFT', 'DPO', 'KTO', 'ORPO', 'SIMPO'))"
COLUMNS = (
    "model_version ADD COLUMN licence TEXT",
    "model_version ADD COLUMN retired_at {moment}",
    "recipe ADD COLUMN loss VARCHAR(20) NOT NULL DEFAULT 'SIGMOID' CONSTRAINT ck_recipe_loss "
    "CHECK (loss IN ('SIGMOID', 'IPO', 'ROBUST', 'APO_ZERO', 'SIGMOID_NORM'))",
    "recipe ADD COLUMN label_smoothing {double} NOT NULL DEFAULT 0 CONSTRAINT ck_recipe_label_smoothing "
    "CHECK (label_smoothing >= 0 AND label_smoothing < 0.5)",
    "recipe ADD COLUMN sft_epochs {double} NOT NULL DEFAULT 0 CONSTRAINT ck_recipe_sft_epochs "
    "CHECK (sft_epochs >= 0)",
    "recipe ADD COLUMN reference VARCHAR(20) NOT NULL DEFAULT 'START' CONSTRAINT ck_recipe_reference "
    "CHECK (reference IN ('START', 'BASE'))",
    "recipe ADD COLUMN adapter VARCHAR(20) DEFAULT 'LORA' CONSTRAINT ck_recipe_adapter "
    "CHECK (adapter IN ('LORA', 'RSLORA', 'DORA', 'QLORA'))",
    "recipe ADD COLUMN evaluations INTEGER NOT NULL DEFAULT 4",
    "recipe ADD COLUMN stop_early BOOLEAN NOT NULL DEFAULT true",
    "recipe ADD COLUMN launcher VARCHAR(20) NOT NULL DEFAULT 'LOCAL' CONSTRAINT ck_recipe_launcher "
    "CHECK (launcher IN ('LOCAL', 'ACCELERATE', 'RAY'))",
    "recipe ADD COLUMN processes INTEGER NOT NULL DEFAULT 1",
    "snapshot ADD COLUMN selection JSON",
    "snapshot ADD COLUMN thumb_count INTEGER NOT NULL DEFAULT 0",
    "training_run ADD COLUMN share {double} NOT NULL DEFAULT 1",
    "training_run ADD COLUMN curve_id INTEGER CONSTRAINT fk_training_run_curve_id REFERENCES learning_curve (id)",
    "training_run ADD COLUMN best_step INTEGER",
    "training_run ADD COLUMN stopped TEXT",
    "training_run ADD COLUMN peak_memory_mb INTEGER",
    "training_step ADD COLUMN rewards_chosen {double}",
    "training_step ADD COLUMN rewards_rejected {double}",
    "training_step ADD COLUMN grad_norm {double}",
    "training_step ADD COLUMN tokens_per_second {double}",
)


def upgrade() -> None:
    """Apply."""
    op.create_table('companion',
        sa.Column('generation_run_id', sa.Integer(), nullable=False),
        sa.Column('responder_id', sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ['generation_run_id'], ['generation_run.id'], name=op.f('fk_companion_generation_run_id')
        ),
        sa.ForeignKeyConstraint(['responder_id'], ['responder.id'], name=op.f('fk_companion_responder_id')),
        sa.PrimaryKeyConstraint('generation_run_id', 'responder_id', name=op.f('pk_companion'))
    )
    op.create_table('learning_curve',
        sa.Column('id', sa.Integer(), nullable=False),
        sa.Column('project_id', sa.Integer(), nullable=False),
        sa.Column('snapshot_id', sa.Integer(), nullable=False),
        sa.Column('requested_by_id', sa.Integer(), nullable=False),
        sa.Column('created_at', sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(['project_id'], ['project.id'], name=op.f('fk_learning_curve_project_id')),
        sa.ForeignKeyConstraint(['requested_by_id'], ['reviewer.id'], name=op.f('fk_learning_curve_requested_by_id')),
        sa.ForeignKeyConstraint(['snapshot_id'], ['snapshot.id'], name=op.f('fk_learning_curve_snapshot_id')),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_learning_curve'))
    )
    op.create_index('ix_learning_curve_project_id', 'learning_curve', ['project_id'])
    op.create_table('thumb',
        sa.Column('id', sa.Integer(), nullable=False),
        sa.Column('snapshot_id', sa.Integer(), nullable=False),
        sa.Column('split', sa.Enum('TRAIN', 'VALIDATION', name='split', native_enum=False, create_constraint=True,
                                   length=20), nullable=False),
        sa.Column('prompt_id', sa.Integer(), nullable=False),
        sa.Column('response_id', sa.Integer(), nullable=False),
        sa.Column('up', sa.Boolean(), nullable=False),
        sa.Column('ranking_id', sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(['prompt_id'], ['prompt.id'], name=op.f('fk_thumb_prompt_id')),
        sa.ForeignKeyConstraint(['ranking_id'], ['ranking.id'], name=op.f('fk_thumb_ranking_id')),
        sa.ForeignKeyConstraint(['response_id'], ['response.id'], name=op.f('fk_thumb_response_id')),
        sa.ForeignKeyConstraint(['snapshot_id'], ['snapshot.id'], name=op.f('fk_thumb_snapshot_id')),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_thumb')),
        sa.UniqueConstraint('snapshot_id', 'response_id', name=op.f('uq_thumb_snapshot_id_response_id'))
    )
    op.create_index('ix_thumb_ranking_id', 'thumb', ['ranking_id'])
    op.create_table('training_sample',
        sa.Column('training_run_id', sa.Integer(), nullable=False),
        sa.Column('step', sa.Integer(), nullable=False),
        sa.Column('place', sa.Integer(), nullable=False),
        sa.Column('prompt_id', sa.Integer(), nullable=False),
        sa.Column('reply', sa.Text(), nullable=False),
        sa.Column('tokens', sa.Integer(), nullable=False),
        sa.Column('ended', sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(['prompt_id'], ['prompt.id'], name=op.f('fk_training_sample_prompt_id')),
        sa.ForeignKeyConstraint(
            ['training_run_id'], ['training_run.id'], name=op.f('fk_training_sample_training_run_id')
        ),
        sa.PrimaryKeyConstraint('training_run_id', 'step', 'place', name=op.f('pk_training_sample'))
    )
    op.create_table('training_warning',
        sa.Column('training_run_id', sa.Integer(), nullable=False),
        sa.Column('step', sa.Integer(), nullable=False),
        sa.Column('kind', sa.Text(), nullable=False),
        sa.Column('sentence', sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ['training_run_id'], ['training_run.id'], name=op.f('fk_training_warning_training_run_id')
        ),
        sa.PrimaryKeyConstraint('training_run_id', 'step', 'kind', name=op.f('pk_training_warning'))
    )
    op.create_table('timing',
        sa.Column('id', sa.Integer(), nullable=False),
        sa.Column('project_id', sa.Integer(), nullable=False),
        sa.Column('snapshot_id', sa.Integer(), nullable=False),
        sa.Column('recipe_id', sa.Integer(), nullable=False),
        sa.Column('base_model_id', sa.Integer(), nullable=False),
        sa.Column('requested_by_id', sa.Integer(), nullable=False),
        sa.Column('device', sa.Text(), nullable=True),
        sa.Column('seconds_a_row', sa.Double(), nullable=True),
        sa.Column('seconds_a_reference', sa.Double(), nullable=True),
        sa.Column('seconds_before', sa.Double(), nullable=True),
        sa.Column('peak_memory_mb', sa.Integer(), nullable=True),
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
        sa.ForeignKeyConstraint(['base_model_id'], ['model_version.id'], name=op.f('fk_timing_base_model_id')),
        sa.ForeignKeyConstraint(['project_id'], ['project.id'], name=op.f('fk_timing_project_id')),
        sa.ForeignKeyConstraint(['recipe_id'], ['recipe.id'], name=op.f('fk_timing_recipe_id')),
        sa.ForeignKeyConstraint(['requested_by_id'], ['reviewer.id'], name=op.f('fk_timing_requested_by_id')),
        sa.ForeignKeyConstraint(['snapshot_id'], ['snapshot.id'], name=op.f('fk_timing_snapshot_id')),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_timing'))
    )
    op.create_index('ix_timing_project_id', 'timing', ['project_id'])
    op.create_index('ix_timing_status', 'timing', ['status'])
    on_postgres = op.get_bind().dialect.name == "postgresql"
    types = {
        "double": "DOUBLE PRECISION" if on_postgres else "DOUBLE",
        "moment": "TIMESTAMP WITHOUT TIME ZONE" if on_postgres else "DATETIME",
    }
    for added in COLUMNS:
        op.execute("ALTER TABLE " + added.format(**types))
    _allow_more_methods()


def _allow_more_methods() -> None:
    """Other methods in the recipe's check. SQLite has no ALTER for that; its manual says to edit the stored text."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE recipe DROP CONSTRAINT ck_recipe_method")
        op.execute(f"ALTER TABLE recipe ADD CONSTRAINT ck_recipe_method {METHODS}")
        return
    bind = op.get_bind()
    number = bind.exec_driver_sql("PRAGMA schema_version").scalar_one()
    bind.exec_driver_sql("PRAGMA writable_schema = ON")
    bind.exec_driver_sql(
        "UPDATE sqlite_master SET sql = replace(sql, ?, ?) WHERE type = 'table' AND name = 'recipe'",
        (OLD_METHODS, METHODS),
    )
    bind.exec_driver_sql(f"PRAGMA schema_version = {number + 1}")
    bind.exec_driver_sql("PRAGMA writable_schema = OFF")


def downgrade() -> None:
    """Take back."""
    raise NotImplementedError(
        "Restore the copy of the database that was made before the update: SQLite's lies beside the file, PostgreSQL's "
        "is the one that you make."
    )
