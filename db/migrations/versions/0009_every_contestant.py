"""every contestant: versions of Responders, endpoints, examples, adapters, parity checks, assertions, routing.

Revision 0009, after 0008.
"""

import sqlalchemy as sa
from alembic import op

revision = '0009'
down_revision = '0008'
branch_labels = None
depends_on = None

COLUMNS = (
    "generation_run ADD COLUMN trial BOOLEAN NOT NULL DEFAULT false",
    "generation_run ADD COLUMN resampled INTEGER NOT NULL DEFAULT 0",
    "generation_run ADD COLUMN paused BOOLEAN NOT NULL DEFAULT false",
    "training_run ADD COLUMN paused BOOLEAN NOT NULL DEFAULT false",
    "model_version ADD COLUMN layout VARCHAR(20) CONSTRAINT ck_model_version_layout "
    "CHECK (layout IN ('ALPACA', 'PLAIN'))",
    "model_version ADD COLUMN stop_tokens TEXT",
    "model_version ADD COLUMN dtype TEXT",
    "model_version ADD COLUMN adapter VARCHAR(20) CONSTRAINT ck_model_version_adapter "
    "CHECK (adapter IN ('LORA', 'RSLORA', 'DORA', 'QLORA'))",
    "model_version ADD COLUMN adapter_folder TEXT CONSTRAINT ck_model_version_adapter_is_somewhere "
    "CHECK ((adapter IS NULL) = (adapter_folder IS NULL))",
    "prompt ADD COLUMN synthetic BOOLEAN NOT NULL DEFAULT false CONSTRAINT ck_prompt_synthetic_trains_only "
    "CHECK (NOT (synthetic AND held_out))",
    "prompt ADD COLUMN parent_id INTEGER CONSTRAINT fk_prompt_parent_id REFERENCES prompt (id)",
    "prompt ADD COLUMN made_by_id INTEGER CONSTRAINT fk_prompt_made_by_id REFERENCES responder (id)",
    "prompt ADD COLUMN routing_rule_id INTEGER CONSTRAINT fk_prompt_routing_rule_id REFERENCES routing_rule (id)",
    "responder ADD COLUMN user_template TEXT",
    "responder ADD COLUMN fields JSON",
    "responder ADD COLUMN endpoint_url TEXT CONSTRAINT ck_responder_remote_has_endpoint "
    "CHECK ((kind = 'REMOTE') = (endpoint_url IS NOT NULL))",
    "responder ADD COLUMN endpoint_model TEXT",
    "responder ADD COLUMN key_variable TEXT",
    "responder ADD COLUMN version INTEGER NOT NULL DEFAULT 1",
    "responder ADD COLUMN parent_id INTEGER CONSTRAINT fk_responder_parent_id REFERENCES responder (id)",
    "responder ADD COLUMN kept BOOLEAN NOT NULL DEFAULT true",
    "response ADD COLUMN completion_tokens INTEGER",
    "response ADD COLUMN system_hash TEXT",
    "response ADD COLUMN stop_tokens TEXT",
    "response ADD COLUMN dtype TEXT",
    "response ADD COLUMN seed INTEGER",
    "response ADD COLUMN replaces_id INTEGER CONSTRAINT fk_response_replaces_id REFERENCES response (id)",
    "snapshot ADD COLUMN system_hash TEXT",
    "snapshot ADD COLUMN prompt_of_id INTEGER CONSTRAINT fk_snapshot_prompt_of_id REFERENCES responder (id)",
)


def upgrade() -> None:
    """Apply. Columns are added in place: rebuilding a table on SQLite would lose its checks."""
    op.create_table('assertion',
        sa.Column('id', sa.Integer(), nullable=False),
        sa.Column('project_id', sa.Integer(), nullable=False),
        sa.Column('name', sa.Text(), nullable=False),
        sa.Column('claim', sa.Enum('MATCHES', 'CONTAINS', 'LACKS', 'AT_MOST_WORDS', 'JSON', 'ONE_OF', 'LANGUAGE', 'NO_NEW_NUMBERS', 'LIKE_REFERENCE',
            name='claim', native_enum=False, create_constraint=True, length=20), nullable=False),
        sa.Column('value', sa.Text(), nullable=False),
        sa.Column('created_by_id', sa.Integer(), nullable=False),
        sa.Column('created_at', sa.DateTime(), nullable=False),
        sa.Column('ended_at', sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(['created_by_id'], ['reviewer.id'], name=op.f('fk_assertion_created_by_id')),
        sa.ForeignKeyConstraint(['project_id'], ['project.id'], name=op.f('fk_assertion_project_id')),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_assertion'))
    )
    op.create_index('ix_assertion_project_id', 'assertion', ['project_id'])

    op.create_table('parity_check',
        sa.Column('id', sa.Integer(), nullable=False),
        sa.Column('project_id', sa.Integer(), nullable=False),
        sa.Column('model_version_id', sa.Integer(), nullable=False),
        sa.Column('passed', sa.Boolean(), nullable=True),
        sa.Column('problem', sa.Text(), nullable=True),
        sa.Column('engine', sa.Text(), nullable=True),
        sa.Column('dtype', sa.Text(), nullable=True),
        sa.Column('conversations', sa.Integer(), nullable=True),
        sa.Column('tokens', sa.Integer(), nullable=True),
        sa.Column('largest_difference', sa.Double(), nullable=True),
        sa.Column('mean_difference', sa.Double(), nullable=True),
        sa.Column('tolerance', sa.Double(), nullable=True),
        sa.Column('requested_by_id', sa.Integer(), nullable=True),
        sa.Column('status', sa.Enum('QUEUED', 'RUNNING', 'SUCCEEDED', 'FAILED', 'CANCELLED',
            name='runstatus', native_enum=False, create_constraint=True, length=20), nullable=False),
        sa.Column('cancel_requested', sa.Boolean(), nullable=False),
        sa.Column('paused', sa.Boolean(), server_default=sa.false(), nullable=False),
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
        sa.ForeignKeyConstraint(['model_version_id'], ['model_version.id'], name=op.f('fk_parity_check_model_version_id')),
        sa.ForeignKeyConstraint(['project_id'], ['project.id'], name=op.f('fk_parity_check_project_id')),
        sa.ForeignKeyConstraint(['requested_by_id'], ['reviewer.id'], name=op.f('fk_parity_check_requested_by_id')),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_parity_check'))
    )
    op.create_index('ix_parity_check_model_version_id', 'parity_check', ['model_version_id'])
    op.create_index('ix_parity_check_project_id', 'parity_check', ['project_id'])
    op.create_index('ix_parity_check_status', 'parity_check', ['status'])

    op.create_table('text_rule',
        sa.Column('id', sa.Integer(), nullable=False),
        sa.Column('project_id', sa.Integer(), nullable=False),
        sa.Column('part', sa.Enum('GREETING_NAME', 'TICKET_NUMBER', 'PATTERN',
            name='hiddenpart', native_enum=False, create_constraint=True, length=20), nullable=False),
        sa.Column('pattern', sa.Text(), nullable=True),
        sa.Column('replacement', sa.Text(), nullable=False),
        sa.Column('created_by_id', sa.Integer(), nullable=False),
        sa.Column('created_at', sa.DateTime(), nullable=False),
        sa.Column('ended_at', sa.DateTime(), nullable=True),
        sa.CheckConstraint("(part = 'PATTERN') = (pattern IS NOT NULL)", name=op.f('ck_text_rule_pattern_is_given')),
        sa.ForeignKeyConstraint(['created_by_id'], ['reviewer.id'], name=op.f('fk_text_rule_created_by_id')),
        sa.ForeignKeyConstraint(['project_id'], ['project.id'], name=op.f('fk_text_rule_project_id')),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_text_rule'))
    )
    op.create_index('ix_text_rule_project_id', 'text_rule', ['project_id'])

    op.create_table('example',
        sa.Column('responder_id', sa.Integer(), nullable=False),
        sa.Column('place', sa.Integer(), nullable=False),
        sa.Column('prompt', sa.Text(), nullable=False),
        sa.Column('reply', sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(['responder_id'], ['responder.id'], name=op.f('fk_example_responder_id')),
        sa.PrimaryKeyConstraint('responder_id', 'place', name=op.f('pk_example'))
    )
    op.create_table('routing_rule',
        sa.Column('id', sa.Integer(), nullable=False),
        sa.Column('project_id', sa.Integer(), nullable=False),
        sa.Column('reason', sa.Text(), nullable=False),
        sa.Column('pattern', sa.Text(), nullable=True),
        sa.Column('classifier_id', sa.Integer(), nullable=True),
        sa.Column('answer', sa.Text(), nullable=True),
        sa.Column('created_by_id', sa.Integer(), nullable=False),
        sa.Column('created_at', sa.DateTime(), nullable=False),
        sa.Column('ended_at', sa.DateTime(), nullable=True),
        sa.CheckConstraint('(pattern IS NULL) <> (classifier_id IS NULL)', name=op.f('ck_routing_rule_one_kind')),
        sa.ForeignKeyConstraint(['classifier_id'], ['responder.id'], name=op.f('fk_routing_rule_classifier_id')),
        sa.ForeignKeyConstraint(['created_by_id'], ['reviewer.id'], name=op.f('fk_routing_rule_created_by_id')),
        sa.ForeignKeyConstraint(['project_id'], ['project.id'], name=op.f('fk_routing_rule_project_id')),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_routing_rule'))
    )
    op.create_index('ix_routing_rule_project_id', 'routing_rule', ['project_id'])

    op.create_table('trial_prompt',
        sa.Column('responder_id', sa.Integer(), nullable=False),
        sa.Column('prompt_id', sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(['prompt_id'], ['prompt.id'], name=op.f('fk_trial_prompt_prompt_id')),
        sa.ForeignKeyConstraint(['responder_id'], ['responder.id'], name=op.f('fk_trial_prompt_responder_id')),
        sa.PrimaryKeyConstraint('responder_id', 'prompt_id', name=op.f('pk_trial_prompt'))
    )
    op.create_table('assertion_result',
        sa.Column('assertion_id', sa.Integer(), nullable=False),
        sa.Column('response_id', sa.Integer(), nullable=False),
        sa.Column('passed', sa.Boolean(), nullable=False),
        sa.Column('detail', sa.Text(), nullable=False),
        sa.Column('created_at', sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(['assertion_id'], ['assertion.id'], name=op.f('fk_assertion_result_assertion_id')),
        sa.ForeignKeyConstraint(['response_id'], ['response.id'], name=op.f('fk_assertion_result_response_id')),
        sa.PrimaryKeyConstraint('assertion_id', 'response_id', name=op.f('pk_assertion_result'))
    )
    op.create_index('ix_assertion_result_response_id', 'assertion_result', ['response_id'])
    for table, column in (("responder", "price_in"), ("responder", "price_out"), ("response", "temperature")):
        op.add_column(table, sa.Column(column, sa.Double()))
    for added in COLUMNS:
        op.execute(f"ALTER TABLE {added}")


def downgrade() -> None:
    """Take back."""
    raise NotImplementedError(
        "Restore the copy of the database that was made before the update: SQLite's lies beside the file, PostgreSQL's "
        "is the one that you make."
    )
