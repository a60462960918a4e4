"""ModelVersions with their provenance, and Responders with everything that determines their replies."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, Double, ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from db.models.base import Base, enum, now


class ChatLayout(StrEnum):
    """How a conversation becomes one text for a model that has no chat template of its own."""

    ALPACA = "ALPACA"
    """Headings ``### Instruction:``, ``### Input:``, ``### Response:`` (Taori et al. 2023, Stanford Alpaca)."""
    PLAIN = "PLAIN"
    """The input, a line ``###``, the output."""


class Adapter(StrEnum):
    """The kind of adapter that a ModelVersion adds to its parent."""

    LORA = "LORA"
    """Low-rank matrices (Hu et al. 2021, arXiv 2106.09685)."""
    RSLORA = "RSLORA"
    """LoRA scaled by the root of its rank (Kalajdzievski 2023, arXiv 2312.03732)."""
    DORA = "DORA"
    """LoRA of direction, with magnitudes of their own (Liu et al. 2024, arXiv 2402.09353)."""
    QLORA = "QLORA"
    """LoRA trained on weights in four bits (Dettmers et al. 2023, arXiv 2305.14314)."""


class ModelVersion(Base):
    """A base model, or a model trained from its parent; the parent is always known."""

    __tablename__ = "model_version"
    __table_args__ = (
        UniqueConstraint("name"),
        CheckConstraint("(adapter IS NULL) = (adapter_folder IS NULL)", name="adapter_is_somewhere"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    location: Mapped[str]
    """Local folder with safetensors, or a hub id; of an adapter, the folder where it is merged into its parent."""
    sha256: Mapped[str | None]
    """Hash of the weights (of an added adapter, of its own weights); None for a hub id never downloaded here."""
    template_hash: Mapped[str | None]
    """Hash of the chat template that it was trained and is served with."""
    layout: Mapped[ChatLayout | None] = mapped_column(enum(ChatLayout))
    """The layout used instead of a chat template; None where the model has its own template."""
    stop_tokens: Mapped[str | None]
    """The tokens that end its replies, as text, separated by spaces."""
    dtype: Mapped[str | None]
    """Precision of the stored weights."""
    adapter: Mapped[Adapter | None] = mapped_column(enum(Adapter))
    adapter_folder: Mapped[str | None]
    """Folder of the adapter alone."""
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("model_version.id"))
    """The model that it was trained from; None for a base model."""
    licence: Mapped[str | None]
    """As stated by the base model's card or a manager; a trained model has its base's licence."""
    retired_at: Mapped[datetime | None]
    """Since when it is no longer offered for new work; its earlier work stays."""
    created_at: Mapped[datetime] = mapped_column(default=now)

    parent: Mapped["ModelVersion | None"] = relationship(remote_side=[id])


class ResponderKind(StrEnum):
    """What kind of Responder answers."""

    HUMAN = "HUMAN"
    """A person or a team, whose replies were imported or written here."""
    MODEL = "MODEL"
    """A ModelVersion with instructions and sampling settings."""
    REMOTE = "REMOTE"
    """A model behind a remote endpoint, with instructions and sampling settings."""


class Responder(Base):
    """A person, team or model that answers prompts; Evaluations compare Responders.

    It never changes once it has answered: other instructions make a new version, and old Responses keep theirs.
    """

    __tablename__ = "responder"
    __table_args__ = (
        UniqueConstraint("project_id", "name"),
        CheckConstraint("(kind = 'MODEL') = (model_version_id IS NOT NULL)", name="model_has_version"),
        CheckConstraint("(kind = 'HUMAN') = (instructions IS NULL)", name="model_has_instructions"),
        CheckConstraint("(kind = 'REMOTE') = (endpoint_url IS NOT NULL)", name="remote_has_endpoint"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"), index=True)
    name: Mapped[str]
    """Unique in the project; the name of a later version ends in its number."""
    kind: Mapped[ResponderKind] = mapped_column(enum(ResponderKind))
    simulated: Mapped[bool] = mapped_column(default=False)
    """Whether it is a human Responder whose replies were made up (as in the sample project)."""
    reviewer_id: Mapped[int | None] = mapped_column(ForeignKey("reviewer.id"))
    """The person behind a human Responder, where they also use the app: people never judge their own replies."""
    model_version_id: Mapped[int | None] = mapped_column(ForeignKey("model_version.id"))
    instructions: Mapped[str | None]
    """The system prompt, always sent, possibly empty; may name fields as ``{{field}}``."""
    user_template: Mapped[str | None]
    """Template of the user's turn; None puts the context above the text."""
    fields: Mapped[dict[str, str] | None]
    """Texts by field name, for the templates; the same for every prompt."""
    temperature: Mapped[float] = mapped_column(default=0.9)
    top_p: Mapped[float] = mapped_column(default=0.95)
    max_tokens: Mapped[int] = mapped_column(default=160)
    endpoint_url: Mapped[str | None]
    """Address of a REMOTE Responder's OpenAI-compatible endpoint, ending in /v1."""
    endpoint_model: Mapped[str | None]
    """Name of a REMOTE Responder's model at the endpoint."""
    key_variable: Mapped[str | None]
    """Name of the environment variable that holds the endpoint's key; the key itself is never stored."""
    price_in: Mapped[float | None] = mapped_column(Double)
    """US dollars for a million tokens read; None where no price was given."""
    price_out: Mapped[float | None] = mapped_column(Double)
    """US dollars for a million tokens written."""
    version: Mapped[int] = mapped_column(default=1)
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("responder.id"))
    """The version that it was made from."""
    listed: Mapped[bool] = mapped_column(default=True)
    """False for a Responder that was only tried out; only the workbench shows it."""
    created_at: Mapped[datetime] = mapped_column(default=now)

    model_version: Mapped[ModelVersion | None] = relationship()
    examples: Mapped[list["FewShotExample"]] = relationship(order_by="FewShotExample.place")
    parent: Mapped["Responder | None"] = relationship(remote_side=[id])

    @property
    def label(self) -> str:
        """The name as screens, tables and files show it."""
        return f"{self.name} (simulated)" if self.simulated else self.name


class FewShotExample(Base):
    """A few-shot example: a prompt with its reply, shown to a Responder before each prompt."""

    __tablename__ = "few_shot_example"

    responder_id: Mapped[int] = mapped_column(ForeignKey("responder.id"), primary_key=True)
    place: Mapped[int] = mapped_column(primary_key=True)
    """Position in the order shown, from 1."""
    prompt: Mapped[str]
    """The whole turn of the user."""
    reply: Mapped[str]
