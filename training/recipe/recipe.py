"""A training's knobs, each declared once: what it is called and why, what is allowed, who reads it, what TRL calls it.

The form, the checks, the stored row, run.json, the card and the trainer's arguments are all made from `KNOBS`: a new
knob is one more field of `RecipeValues`. What goes wrong only together with others has its sentence in `check_recipe`.
"""

import importlib.util
import math
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, asdict, dataclass, field, fields, replace
from enum import Enum, StrEnum, auto
from typing import Any, Self, TypeVar

from db.models import Adapter, Method, Recipe
from errors import Refused, missing_package

PAIRED = (Method.DPO, Method.ORPO, Method.SIMPO)
"""Methods that set one reply against another."""
WITH_REFERENCE = frozenset({Method.DPO, Method.KTO})
"""Methods that hold the model to a reference, and so can have a supervised stage before them."""
WITH_ANCHOR = frozenset({Method.DPO, Method.SIMPO})
"""Methods that can have the supervised loss on the chosen reply beside their own."""
WITH_LOSSES = frozenset({Method.DPO})
"""Methods with several losses to choose from."""
EXPERIMENTAL = frozenset({Method.ORPO, Method.SIMPO})
"""Methods whose trainers TRL keeps under ``trl.experimental``, where anything may change."""


class Loss(StrEnum):
    """DPO's losses; each has a sane beta of its own."""

    SIGMOID = "SIGMOID"
    """The paper's own."""
    IPO = "IPO"
    """A gap to reach instead of one to widen for ever (Azar et al. 2023, arXiv 2310.12036)."""
    ROBUST = "ROBUST"
    """For picks of which a known share is wrong (Chowdhury et al. 2024, arXiv 2403.00409)."""
    APO_ZERO = "APO_ZERO"
    """Chosen replies more likely, rejected ones less (D'Oosterlinck et al. 2024, arXiv 2408.06266)."""
    SIGMOID_NORM = "SIGMOID_NORM"
    """By tokens, so that length counts less."""


class Reference(StrEnum):
    """The model that DPO and KTO hold the trained one to."""

    START = "START"
    """The model that the training starts from, after its supervised stage if it has one."""
    BASE = "BASE"
    """The model that it started from before any supervised stage."""


class KnobGroup(Enum):
    """Where the form shows a knob."""

    TOP = auto()
    """Above the others, since what is advised for them depends on it."""
    MAIN = auto()
    MORE = auto()
    """Folded away, since it is seldom changed."""


@dataclass(frozen=True)
class Option:
    """One value of a knob that is a choice: what it does, and when it is the one to take."""

    label: str
    description: str


@dataclass(frozen=True)
class Reason:
    """Why a knob has its value."""

    why: str
    source: str


@dataclass(frozen=True)
class Knob:
    """The description of one knob."""

    label: str
    description: str
    _: KW_ONLY
    source: str
    default_reason: str | Reason = ""
    """Why its default is right, where the advice has nothing more to say; a text has the knob's own source."""
    group: KnobGroup = KnobGroup.MORE
    minimum: float = 0
    """Of a number; ``exclusive`` says that it has to be more than that, ``optional`` that it may be left out."""
    exclusive: bool = False
    optional: bool = False
    options: Mapping[Any, Option] = field(default_factory=dict)
    """Of a choice: every value; empty for a number or a switch."""
    read_by: "Callable[[RecipeValues, bool], bool]" = lambda recipe, tuned: True
    """Whether such a recipe reads it, given also whether the model to start from was itself made from another."""
    trl: str | None = None
    """Its name in TRL's configuration, where it goes there as it is."""

    @property
    def reason(self) -> Reason:
        """Of its default."""
        reason = self.default_reason
        return reason if isinstance(reason, Reason) else Reason(reason, self.source)

    @property
    def allowed(self) -> str:
        """The allowed numbers, in words."""
        return f"more than {self.minimum:g}" if self.exclusive else f"{self.minimum:g} or more"


T = TypeVar("T")


def knob(default: T, *about: Any, **more: Any) -> T:
    """A field of `RecipeValues` with what a `Knob` takes."""
    return field(default=default, metadata={"knob": Knob(*about, **more)})


METHODS: Mapping[Method, Option] = {
    Method.DPO: Option(
        "DPO: learn from pairs",
        "Makes the better reply of each pair likelier than the worse one. The one to start with where people ranked.",
    ),
    Method.SFT: Option(
        "SFT: learn to write the better replies",
        "Learns corrected and picked replies as they stand; the worse ones are not read. The one for what the model "
        "never does by itself, for it cannot prefer what it never writes.",
    ),
    Method.KTO: Option(
        "KTO: learn from replies one by one",
        "Each reply counts by itself, good or bad; uses single good and bad replies too. Where pairs are few or noisy.",
    ),
    Method.ORPO: Option(
        "ORPO (experimental)",
        "SFT and preference in one, without a reference model, so with less memory. Its trainer may change any day.",
    ),
    Method.SIMPO: Option(
        "SimPO (experimental)",
        "Preference by the mean of tokens, without a reference model. Its trainer may change any day.",
    ),
}

LOSSES: Mapping[Loss, Option] = {
    Loss.SIGMOID: Option("sigmoid: the paper's own", "The one to start with."),
    Loss.IPO: Option(
        "ipo: a gap to reach",
        "Stops widening the gap where it is wide enough, so it overfits less where people always agree.",
    ),
    Loss.ROBUST: Option(
        "robust: some picks are wrong", "Reckons with a known share of wrong picks; where people often disagree."
    ),
    Loss.APO_ZERO: Option(
        "apo_zero: the chosen one likelier",
        "Pushes the better reply up and the worse one down, instead of only apart; where the better replies are better "
        "than what the model writes, as corrections are.",
    ),
    Loss.SIGMOID_NORM: Option(
        "sigmoid_norm: by tokens", "Counts by the token, so that a long reply weighs no more than a short one."
    ),
}

ADAPTERS: Mapping[Adapter | None, Option] = {
    Adapter.LORA: Option("LoRA", "Small matrices beside every layer; the model itself stays. Good for nearly all."),
    Adapter.RSLORA: Option("rsLoRA", "LoRA whose scale grows with the rank's root, for ranks of 64 and more."),
    Adapter.DORA: Option("DoRA", "LoRA with lengths of its own: a little better at low ranks, somewhat slower."),
    Adapter.QLORA: Option("QLoRA", "LoRA on weights in four bits: much less memory, never faster. Needs bitsandbytes."),
    None: Option(
        "none: train every weight",
        "16 bytes a parameter: several times LoRA's memory and disk, rarely better with a few hundred pairs.",
    ),
}
"""PiSSA and its like are not offered: they rewrite the base model, which then is no reference any more."""

REFERENCES: Mapping[Reference, Option] = {
    Reference.START: Option(
        "the model that preferences start from",
        "After its supervised stage, if there is one. As in the DPO paper: what that stage taught is kept.",
    ),
    Reference.BASE: Option(
        "the model before that",
        "The one before the supervised stage, or the one that the model to start from was made from.",
    ),
}

HANDBOOK = "alignment-handbook, zephyr-7b-beta, dpo/config_qlora.yaml"
OURS = "our runs on SmolLM2-135M"
TRL = "TRL 1.16"
DPO_TRAINER = f"{TRL}, DPO Trainer"


@dataclass(frozen=True, kw_only=True)
class RecipeValues:
    """The knobs of one training; the defaults are for a model of 100 to 500 million parameters on a CPU."""

    name: str
    method: Method = knob(
        Method.DPO,
        "Method",
        "What the model learns from, and how.",
        source=f"{TRL}: SFT, DPO, KTO; experimental ORPO, CPO",
        group=KnobGroup.TOP,
        options=METHODS,
    )
    loss: Loss = knob(
        Loss.SIGMOID,
        "Loss",
        "What DPO makes small. Each has a beta of its own that is sane: 0.1 of one is nothing like 0.1 of another.",
        source=f"{DPO_TRAINER}, loss_type",
        default_reason="Chosen above.",
        group=KnobGroup.TOP,
        options=LOSSES,
        read_by=lambda recipe, tuned: recipe.method in WITH_LOSSES,
    )
    adapter: Adapter | None = knob(
        Adapter.LORA,
        "What is trained",
        "An adapter is a small addition that the training changes while the model stays as it is.",
        source="Hu et al. 2021, arXiv 2106.09685; PEFT 0.21",
        default_reason="Chosen above.",
        group=KnobGroup.TOP,
        options=ADAPTERS,
    )
    learning_rate: float = knob(
        1e-4,
        "Learning rate",
        "How far one step goes. LoRA takes about ten times what full training takes; small models take more than "
        "large ones. Too high, and replies shrink to a few words while every number looks perfect.",
        source=f"1e-4: {OURS}; 5e-6: {HANDBOOK}",
        group=KnobGroup.MAIN,
        exclusive=True,
        trl="learning_rate",
    )
    beta: float = knob(
        0.1,
        "Beta",
        "How strongly the model is held to what it was. Lower lets it move further from the base model.",
        source=f"0.1: {DPO_TRAINER}; 0.01: {HANDBOOK}",
        group=KnobGroup.MAIN,
        exclusive=True,
        read_by=lambda recipe, tuned: recipe.method is not Method.SFT,
        trl="beta",
    )
    rpo_alpha: float = knob(
        0.5,
        "Weight of the chosen reply",
        "DPO alone only widens the gap between the two replies, even by making both unlikely. This adds the "
        "ordinary loss on the chosen reply, so that it stays likely. 0 leaves it out.",
        source=f"0.5: {OURS}; loss_type sigmoid + sft in {DPO_TRAINER}",
        group=KnobGroup.MAIN,
        read_by=lambda recipe, tuned: recipe.method in WITH_ANCHOR,
    )
    label_smoothing: float = knob(
        0.0,
        "Share of wrong picks",
        "How many of the picks somebody else would have made the other way round; the robust loss reckons with them. "
        "No other loss reads it.",
        source="Chowdhury et al. 2024, arXiv 2403.00409",
        group=KnobGroup.MAIN,
        read_by=lambda recipe, tuned: recipe.method in WITH_LOSSES and recipe.loss is Loss.ROBUST,
        trl="label_smoothing",
    )
    epochs: float = knob(
        1.0,
        "Epochs",
        "How often each pair is seen. With few pairs, a second round mostly learns them by heart.",
        source=f"1: {HANDBOOK} and {OURS}",
        group=KnobGroup.MAIN,
        exclusive=True,
    )
    effective_batch_size: int = knob(
        4,
        "Pairs per step",
        "Pairs that one step averages over. More is steadier and makes fewer steps.",
        source=f"4: {OURS}; 16 to 64 where there are thousands of pairs: {HANDBOOK}",
        group=KnobGroup.MAIN,
        exclusive=True,
    )
    warmup_steps: int = knob(
        3,
        "Warm-up steps",
        "Steps over which the learning rate grows to its value, before it falls along a cosine to 0.",
        source=f"about a tenth of the steps: {HANDBOOK}",
        trl="warmup_steps",
    )
    sft_epochs: float = knob(
        0.0,
        "Supervised stage first, epochs",
        "Learns to write the better replies before it learns to prefer them: for what the model hardly ever does by "
        "itself, such as greeting by name, which preferences alone did not bring. 0 leaves it out.",
        source=f"Rafailov et al. 2023, arXiv 2305.18290, section 4; {OURS}",
        default_reason=Reason(
            "None, since it also weakens what preferences then teach. One epoch where the better replies do what the "
            "model hardly ever does by itself.",
            f"{OURS}: greeting by name, in 5.5 % of replies, did not grow with DPO alone",
        ),
        group=KnobGroup.MAIN,
        read_by=lambda recipe, tuned: recipe.method in WITH_REFERENCE,
    )
    reference: Reference = knob(
        Reference.START,
        "Held to",
        "The model that this one is compared with at every step: it may move only so far from it as beta lets it.",
        source="Rafailov et al. 2023, arXiv 2305.18290, section 4",
        default_reason="What was taught before is to be kept.",
        group=KnobGroup.MAIN,
        options=REFERENCES,
        read_by=lambda recipe, tuned: recipe.method in WITH_REFERENCE and bool(recipe.sft_epochs or tuned),
    )
    lora_rank: int = knob(
        16,
        "LoRA rank",
        "Size of the adapter on every linear layer. 16 is 4.9 million parameters on a 135M model, 20 MB.",
        source=f"16: {HANDBOOK}",
        default_reason=Reason("A few hundred pairs do not fill it; more only costs memory.", f"{HANDBOOK}; {OURS}"),
        group=KnobGroup.MAIN,
        exclusive=True,
        read_by=lambda recipe, tuned: recipe.adapter is not None,
    )
    lora_alpha: int = knob(
        32,
        "LoRA alpha",
        "The adapter counts alpha / rank times (rsLoRA: alpha / root of rank): 32 with rank 16 doubles it.",
        source=f"32: {OURS}; 16: {HANDBOOK}",
        exclusive=True,
        read_by=lambda recipe, tuned: recipe.adapter is not None,
    )
    max_length: int = knob(
        1024,
        "Longest row, tokens",
        "Prompt plus reply. Longer rows are refused, never cut: a cut reply teaches to stop in mid-sentence.",
        source=f"1024: {DPO_TRAINER}",
        exclusive=True,
        trl="max_length",
    )
    max_steps: int | None = knob(
        None,
        "At most so many steps",
        "Stops early, to try things out. Empty: the epochs decide.",
        source=DPO_TRAINER,
        default_reason=Reason("The epochs decide.", TRL),
        exclusive=True,
        optional=True,
    )
    evaluation_count: int = knob(
        4,
        "Looks at the validation rows",
        "How often the rows set aside are scored and three sample replies written. Each costs time; none shows only "
        "what the model learned by heart.",
        source=f"{OURS}: the numbers of training looked perfect while the replies had shrunk to three words",
    )
    stop_early: bool = knob(
        True,
        "Stop when it goes wrong",
        "Ends the training when it overfits or over-optimises, and keeps the best model so far. Off: it only warns.",
        source=f"{OURS}: two epochs at twice the learning rate won 35 of 40 by the rule, and wrote “Sorry about that.”",
        default_reason="What over-optimises is worse than what stopped a little early.",
    )
    processes: int = knob(
        1,
        "Processes",
        "How many share the work, one for each GPU.",
        source="Accelerate",
        default_reason="One process needs no other.",
        minimum=1,
    )
    seed: int = knob(
        0,
        "Seed",
        "For the adapter's first values and the order of pairs: the same seed on the same machine, the same model.",
        source=DPO_TRAINER,
        default_reason="Any will do; change it to see how much chance decides.",
        trl="seed",
    )

    def used_knobs(self, *, tuned: bool = True) -> tuple[str, ...]:
        """The names of the knobs that such a training reads; the others change nothing.

        ``tuned`` says that the model to start from was itself made from another, which then is a reference to choose.
        """
        return tuple(name for name, about in KNOBS.items() if about.read_by(self, tuned))

    def trl_arguments(self) -> dict[str, Any]:
        """The arguments of TRL's configuration that are knobs as they stand here."""
        values = {KNOBS[name].trl: getattr(self, name) for name in self.used_knobs()}
        return {name: value for name, value in values.items() if name}

    def steps(self, rows: int) -> int:
        """Optimizer steps of a training on so many rows, as TRL counts them."""
        by_epochs = math.ceil(self.epochs * math.ceil(rows / self.effective_batch_size))
        return by_epochs if self.max_steps is None else min(by_epochs, self.max_steps)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The same values again after JSON. Raises `ValueError` for a name or an option that there is not."""
        read = dict(values)
        if unknown := sorted(read.keys() - {value.name for value in fields(cls)}):
            raise ValueError(f"this version has no {', '.join(unknown)}")
        for name in read.keys() & KNOBS.keys():
            if options := {option: option for option in KNOBS[name].options}:
                if read[name] not in options:
                    raise ValueError(f"{name} cannot be {read[name]!r}")
                read[name] = options[read[name]]
        return cls(**read)


KNOBS: Mapping[str, Knob] = {value.name: value.metadata["knob"] for value in fields(RecipeValues) if value.metadata}
"""Every knob by its name, in the order of the form."""

SMALL = RecipeValues(name="Small model, no GPU")
"""For models of 100 to 500 million parameters on a CPU: 83 pairs won 28 of 40 unseen emails with it (8 lost)."""

LARGE = replace(
    SMALL,
    name="7B model, one GPU",
    learning_rate=5e-6,
    beta=0.01,
    rpo_alpha=0.0,
    effective_batch_size=16,
    warmup_steps=10,
    lora_alpha=16,
)
"""For models of about 7 billion parameters: learning rate, beta and LoRA of zephyr-7b-beta's QLoRA recipe."""

PRESETS: tuple[RecipeValues, ...] = (SMALL, LARGE)
"""For the command line, which has no form that starts from advice; the recommended one first."""


def to_row(recipe: RecipeValues) -> Recipe:
    """The recipe as it is stored."""
    values = asdict(recipe)
    return Recipe(name=values.pop("name"), method=values.pop("method"), knobs=values)


def from_row(stored: Recipe) -> RecipeValues:
    """A stored recipe; a knob that came later has its default, and one that went since is left out."""
    known = {name: value for name, value in stored.knobs.items() if name in KNOBS}
    return RecipeValues.from_json({**known, "name": stored.name, "method": stored.method})


def method_name(method: Method) -> str:
    """As its paper spells it."""
    return "SimPO" if method is Method.SIMPO else method.value


def check_recipe(recipe: RecipeValues) -> None:
    """Every number by itself, then every combination that cannot work. Raises `Refused` with a sentence."""
    for name, about in KNOBS.items():
        value = getattr(recipe, name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if not math.isfinite(value) or value < about.minimum or (about.exclusive and value == about.minimum):
            raise Refused(f"{about.label} cannot be {value:g}. Give a number that is {about.allowed}.")
    if not recipe.name.strip():
        raise Refused("The recipe needs a name. Type one.")
    method, loss = method_name(recipe.method), recipe.loss.value.lower()
    if recipe.method not in WITH_LOSSES and recipe.loss is not Loss.SIGMOID:
        raise Refused(f"{method} has a loss of its own, so {loss} cannot be chosen. Take DPO.")
    if recipe.label_smoothing >= 0.5:
        raise Refused(
            f"A share of wrong picks of {recipe.label_smoothing:g} would say that picks mean nothing. Give one below "
            "0.5; where people agree no more often than that, sharpen the guideline first."
        )
    if recipe.label_smoothing and recipe.loss is not Loss.ROBUST:
        raise Refused(
            f"Only the robust loss reads a share of wrong picks; {loss} would ignore it. Choose the robust loss, or "
            "set it to 0."
        )
    if recipe.sft_epochs and recipe.method not in WITH_REFERENCE:
        raise Refused(
            f"{method} has its supervised part in itself, so it takes no supervised stage before. Set its epochs to 0, "
            "or train with SFT first and start from that model."
        )
    if recipe.method is Method.KTO and recipe.effective_batch_size < 2:
        raise Refused("KTO compares each reply with the others of its step, so it needs 2 per step or more.")
    if recipe.adapter is Adapter.QLORA and importlib.util.find_spec("bitsandbytes") is None:
        raise Refused(missing_package("QLoRA", "bitsandbytes") + " Or choose LoRA.")
