"""The knobs of a training, for the screen: what each does and why, its choices, and which ones a method reads."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from db.models import Adapter, Launcher, Loss, Method, Reference

EXPERIMENTAL = frozenset({Method.ORPO, Method.SIMPO})
"""Methods whose trainers TRL keeps under ``trl.experimental``, where anything may change."""
HAS_LOSSES = frozenset({Method.DPO})
HAS_ANCHOR = frozenset({Method.DPO, Method.SIMPO})
"""Methods that can have the supervised loss on the chosen reply beside their own."""
HAS_REFERENCE = frozenset({Method.DPO, Method.KTO})
"""Methods that hold the model to a reference, and so can have a supervised stage before them."""


@dataclass(frozen=True)
class Choice:
    """One value of a knob that is a choice, for the screen."""

    label: str
    says: str
    """What it does, and when it is the one to take."""


METHODS: Mapping[Method, Choice] = {
    Method.DPO: Choice(
        "DPO: learn from pairs",
        "Makes the better reply of each pair likelier than the worse one. The one to start with where people ranked.",
    ),
    Method.SFT: Choice(
        "SFT: learn to write the better replies",
        "Learns corrected and picked replies as they stand; the worse ones are not read. The one for what the model "
        "never does by itself, for it cannot prefer what it never writes.",
    ),
    Method.KTO: Choice(
        "KTO: learn from replies one by one",
        "Each reply counts by itself, good or bad; uses single good and bad replies too. Where pairs are few or noisy.",
    ),
    Method.ORPO: Choice(
        "ORPO (experimental)",
        "SFT and preference in one, without a reference model, so with less memory. Its trainer may change any day.",
    ),
    Method.SIMPO: Choice(
        "SimPO (experimental)",
        "Preference by the mean of tokens, without a reference model. Its trainer may change any day.",
    ),
}

LOSSES: Mapping[Loss, Choice] = {
    Loss.SIGMOID: Choice("sigmoid: the paper's own", "The one to start with."),
    Loss.IPO: Choice(
        "ipo: a gap to reach",
        "Stops widening the gap where it is wide enough, so it overfits less where people always agree.",
    ),
    Loss.ROBUST: Choice(
        "robust: some picks are wrong", "Reckons with a known share of wrong picks; where people often disagree."
    ),
    Loss.APO_ZERO: Choice(
        "apo_zero: the chosen one likelier",
        "Pushes the better reply up and the worse one down, instead of only apart; where the better replies are better "
        "than what the model writes, as corrections are.",
    ),
    Loss.SIGMOID_NORM: Choice(
        "sigmoid_norm: by tokens", "Counts by the token, so that a long reply weighs no more than a short one."
    ),
}

ADAPTERS: Mapping[Adapter | None, Choice] = {
    Adapter.LORA: Choice("LoRA", "Small matrices beside every layer; the model itself stays. Good for nearly all."),
    Adapter.RSLORA: Choice("rsLoRA", "LoRA whose scale grows with the rank's root, for ranks of 64 and more."),
    Adapter.DORA: Choice("DoRA", "LoRA with lengths of its own: a little better at low ranks, somewhat slower."),
    Adapter.QLORA: Choice("QLoRA", "LoRA on weights in four bits: much less memory, never faster. Needs bitsandbytes."),
    None: Choice(
        "none: train every weight",
        "16 bytes a parameter: several times LoRA's memory and disk, rarely better with a few hundred pairs.",
    ),
}
"""PiSSA and its like are not offered: they rewrite the base model, which then is no reference any more."""

REFERENCES: Mapping[Reference, Choice] = {
    Reference.START: Choice(
        "the model that preferences start from",
        "After its supervised stage, if there is one. As in the DPO paper: what that stage taught is kept.",
    ),
    Reference.BASE: Choice(
        "the model before that",
        "The one before the supervised stage, or the one that the model to start from was made from.",
    ),
}

LAUNCHERS: Mapping[Launcher, Choice] = {
    Launcher.LOCAL: Choice("one process here", "Nothing to set up; one GPU or the CPU."),
    Launcher.ACCELERATE: Choice("several processes here", "Shares the model out among several GPUs (FSDP)."),
    Launcher.RAY: Choice("a Ray cluster", "Through its Jobs API, whose address PICKWELL_RAY_ADDRESS has."),
}

CHOICES: Mapping[str, Mapping[StrEnum | None, Choice]] = {
    "method": METHODS,  # type: ignore[dict-item]
    "loss": LOSSES,  # type: ignore[dict-item]
    "adapter": ADAPTERS,  # type: ignore[dict-item]
    "reference": REFERENCES,  # type: ignore[dict-item]
    "launcher": LAUNCHERS,  # type: ignore[dict-item]
}
"""The knobs that are choices, each value in words."""


@dataclass(frozen=True)
class Knob:
    """One knob for the screen."""

    label: str
    reason: str
    """What it does, and why it is there."""
    source: str


_HANDBOOK = "alignment-handbook, zephyr-7b-beta, dpo/config_qlora.yaml"
_OURS = "our runs on SmolLM2-135M"
_TRL = "TRL 1.16, DPO Trainer"

KNOBS: Mapping[str, Knob] = {
    "method": Knob("Method", "What the model learns from, and how.", "TRL 1.16: SFT, DPO, KTO; experimental ORPO, CPO"),
    "loss": Knob(
        "Loss",
        "What DPO makes small. Each has a beta of its own that is sane: 0.1 of one is nothing like 0.1 of another.",
        f"{_TRL}, loss_type",
    ),
    "adapter": Knob(
        "What is trained",
        "An adapter is a small addition that the training changes while the model stays as it is.",
        "Hu et al. 2021, arXiv 2106.09685; PEFT 0.21",
    ),
    "learning_rate": Knob(
        "Learning rate",
        "How far one step goes. LoRA takes about ten times what full training takes; small models take more than "
        "large ones. Too high, and replies shrink to a few words while every number looks perfect.",
        f"1e-4: {_OURS}; 5e-6: {_HANDBOOK}",
    ),
    "beta": Knob(
        "Beta",
        "How strongly the model is held to what it was. Lower lets it move further from the base model.",
        f"0.1: {_TRL}; 0.01: {_HANDBOOK}",
    ),
    "sft_weight": Knob(
        "Weight of the chosen reply",
        "DPO alone only widens the gap between the two replies, even by making both unlikely. This adds the "
        "ordinary loss on the chosen reply, so that it stays likely. 0 leaves it out.",
        f"0.5: {_OURS}; loss_type sigmoid + sft in {_TRL}",
    ),
    "label_smoothing": Knob(
        "Share of wrong picks",
        "How many of the picks somebody else would have made the other way round; the robust loss reckons with them. "
        "No other loss reads it.",
        "Chowdhury et al. 2024, arXiv 2403.00409",
    ),
    "epochs": Knob(
        "Epochs",
        "How often each pair is seen. With few pairs, a second round mostly learns them by heart.",
        f"1: {_HANDBOOK} and {_OURS}",
    ),
    "batch_size": Knob(
        "Pairs per step",
        "Pairs that one step averages over. More is steadier and makes fewer steps.",
        f"4: {_OURS}; 16 to 64 where there are thousands of pairs: {_HANDBOOK}",
    ),
    "warmup_steps": Knob(
        "Warm-up steps",
        "Steps over which the learning rate grows to its value, before it falls along a cosine to 0.",
        f"about a tenth of the steps: {_HANDBOOK}",
    ),
    "sft_epochs": Knob(
        "Supervised stage first, epochs",
        "Learns to write the better replies before it learns to prefer them: for what the model hardly ever does by "
        "itself, such as greeting by name, which preferences alone did not bring. 0 leaves it out.",
        f"Rafailov et al. 2023, arXiv 2305.18290, section 4; {_OURS}",
    ),
    "reference": Knob(
        "Held to",
        "The model that this one is compared with at every step: it may move only so far from it as beta lets it.",
        "Rafailov et al. 2023, arXiv 2305.18290, section 4",
    ),
    "lora_rank": Knob(
        "LoRA rank",
        "Size of the adapter on every linear layer. 16 is 4.9 million parameters on a 135M model, 20 MB.",
        f"16: {_HANDBOOK}",
    ),
    "lora_alpha": Knob(
        "LoRA alpha",
        "The adapter counts alpha / rank times (rsLoRA: alpha / root of rank): 32 with rank 16 doubles it.",
        f"32: {_OURS}; 16: {_HANDBOOK}",
    ),
    "max_length": Knob(
        "Longest row, tokens",
        "Prompt plus reply. Longer rows are refused, never cut: a cut reply teaches to stop in mid-sentence.",
        f"1024: {_TRL}",
    ),
    "max_steps": Knob("At most so many steps", "Stops early, to try things out. Empty: the epochs decide.", _TRL),
    "evaluations": Knob(
        "Looks at the validation rows",
        "How often the rows set aside are scored and three sample replies written. Each costs time; none shows only "
        "what the model learned by heart.",
        f"{_OURS}: the numbers of training looked perfect while the replies had shrunk to three words",
    ),
    "stop_early": Knob(
        "Stop when it goes wrong",
        "Ends the training when it overfits or over-optimises, and keeps the best model so far. Off: it only warns.",
        f"{_OURS}: two epochs at twice the learning rate won 35 of 40 by the rule, and wrote “Sorry about that.”",
    ),
    "launcher": Knob("Where it runs", "One process is right until the model does not fit one GPU.", "Accelerate; Ray"),
    "processes": Knob("Processes", "How many share the work, one for each GPU.", "Accelerate"),
    "seed": Knob(
        "Seed",
        "For the adapter's first values and the order of pairs: the same seed on the same machine, the same model.",
        _TRL,
    ),
}


def knobs_of(
    *,
    method: Method,
    loss: Loss,
    adapter: Adapter | None,
    launcher: Launcher,
    sft_epochs: float,
    tuned: bool = False,
) -> tuple[str, ...]:
    """The knobs that such a recipe reads, by name, in the order of `KNOBS`: the others change nothing.

    ``tuned`` says that the model to start from was itself made from another, which then is a reference to choose.
    """
    unread = {
        "loss": method not in HAS_LOSSES,
        "beta": method is Method.SFT,
        "sft_weight": method not in HAS_ANCHOR,
        "label_smoothing": method not in HAS_LOSSES or loss is not Loss.ROBUST,
        "sft_epochs": method not in HAS_REFERENCE,
        "reference": method not in HAS_REFERENCE or not (sft_epochs or tuned),
        "lora_rank": adapter is None,
        "lora_alpha": adapter is None,
        "processes": launcher is Launcher.LOCAL,
    }
    return tuple(name for name in KNOBS if not unread.get(name))
