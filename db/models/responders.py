"""Whoever answers: models with their provenance, and Responders, each with everything that makes its replies."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, Double, ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from db.models.base import Base, enum, now


class Layout(StrEnum):
    """How a conversation becomes one text for a model that has no chat template of its own."""

    ALPACA = "ALPACA"
    """Headings ``### Instruction:``, ``### Input:``, ``### Response:`` (Taori et al. 2023, Stanford Alpaca)."""
    PLAIN = "PLAIN"
    """The input, a line ``###``, the output."""


class Adapter(StrEnum):
    """What kind of adapter a ModelVersion adds to its parent."""

    LORA = "LORA"
    """Low-rank matrices (Hu et al. 2021, arXiv 2106.09685)."""
    RSLORA = "RSLORA"
    """LoRA scaled by the root of its rank (Kalajdzievski 2023, arXiv 2312.03732)."""
    DORA = "DORA"
    """LoRA of direction, with magnitudes of their own (Liu et al. 2024, arXiv 2402.09353)."""
    QLORA = "QLORA"
    """LoRA trained on weights in four bits (Dettmers et al. 2023, arXiv 2305.14314)."""


class ModelVersion(Base):
    """A base model, or a base plus what a training taught it; the parent is always known."""

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
    """Hash of the weights (of the adapter's, for one that was added); none for a hub id never downloaded here."""
    template_hash: Mapped[str | None]
    """Hash of the chat template that it was trained and is served with."""
    layout: Mapped[Layout | None] = mapped_column(enum(Layout))
    """What stands in for a chat template; none where the model has its own."""
    stop_tokens: Mapped[str | None]
    """The tokens that end its replies, as text, parted by spaces."""
    dtype: Mapped[str | None]
    """Precision of the stored weights."""
    adapter: Mapped[Adapter | None] = mapped_column(enum(Adapter))
    adapter_folder: Mapped[str | None]
    """Folder of the adapter alone."""
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("model_version.id"))
    """The model it was trained from; none for a base model."""
    licence: Mapped[str | None]
    """As the base model's card or manager says it; a trained model has its base's."""
    retired_at: Mapped[datetime | None]
    """Since when it is no longer offered for new work; what it did stays."""
    created_at: Mapped[datetime] = mapped_column(default=now)

    parent: Mapped["ModelVersion | None"] = relationship(remote_side=[id])


class ResponderKind(StrEnum):
    """Who answers."""

    HUMAN = "HUMAN"
    """A person or a team, whose replies were imported or written here."""
    MODEL = "MODEL"
    """A ModelVersion with instructions and sampling settings."""
    REMOTE = "REMOTE"
    """A model behind somebody else's endpoint, with instructions and sampling settings."""


class Responder(Base):
    """Whoever answers; what an Evaluation compares.

    Never changed once it has answered: other instructions make a new version, and old Responses keep theirs.
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
    """Unique; a later version's ends in its number."""
    kind: Mapped[ResponderKind] = mapped_column(enum(ResponderKind))
    simulated: Mapped[bool] = mapped_column(default=False)
    """A human Responder whose replies were made up (as in the sample project)."""
    reviewer_id: Mapped[int | None] = mapped_column(ForeignKey("reviewer.id"))
    """The person behind a human Responder, where they also use the app: nobody judges what they wrote."""
    model_version_id: Mapped[int | None] = mapped_column(ForeignKey("model_version.id"))
    instructions: Mapped[str | None]
    """The system prompt, always sent, possibly empty; may name fields as ``{{field}}``."""
    user_template: Mapped[str | None]
    """The user's turn with its fields; none puts the context above the text."""
    fields: Mapped[dict[str, str] | None]
    """Texts that the templates name and that are the same for every prompt."""
    temperature: Mapped[float] = mapped_column(default=0.9)
    top_p: Mapped[float] = mapped_column(default=0.95)
    max_tokens: Mapped[int] = mapped_column(default=160)
    endpoint_url: Mapped[str | None]
    """Of a REMOTE one: an OpenAI-compatible endpoint, ending in /v1."""
    endpoint_model: Mapped[str | None]
    """What a REMOTE one is called there."""
    key_variable: Mapped[str | None]
    """Name of the environment variable that holds the endpoint's key; the key itself is never stored."""
    price_in: Mapped[float | None] = mapped_column(Double)
    """US dollars for a million tokens read; none where nobody said."""
    price_out: Mapped[float | None] = mapped_column(Double)
    """US dollars for a million tokens written."""
    version: Mapped[int] = mapped_column(default=1)
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("responder.id"))
    """The version it was made from."""
    kept: Mapped[bool] = mapped_column(default=True)
    """False for one that was only tried out; screens other than the workbench leave it out."""
    created_at: Mapped[datetime] = mapped_column(default=now)

    model_version: Mapped[ModelVersion | None] = relationship()
    examples: Mapped[list["Example"]] = relationship(order_by="Example.place")
    parent: Mapped["Responder | None"] = relationship(remote_side=[id])

    @property
    def label(self) -> str:
        """The name as screens, tables and files show it."""
        return f"{self.name} (simulated)" if self.simulated else self.name


class Example(Base):
    """A prompt with its reply that a Responder is shown before each question (few-shot)."""

    __tablename__ = "example"

    responder_id: Mapped[int] = mapped_column(ForeignKey("responder.id"), primary_key=True)
    place: Mapped[int] = mapped_column(primary_key=True)
    """From 1, in the order shown."""
    prompt: Mapped[str]
    """The whole user's turn."""
    reply: Mapped[str]
