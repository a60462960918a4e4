"""What a recipe should be for this much feedback, this model and this machine, with a reason for every knob. Pure."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from db.models import Adapter, Method
from training.recipe.recipe import (
    HANDBOOK,
    KNOBS,
    METHODS,
    OURS,
    TRL,
    WITH_ANCHOR,
    WITH_LOSSES,
    Loss,
    Reason,
    RecipeValues,
    method_name,
)

FEW_PAIRS = 100
"""Fewer shift style and nothing else: 83 pairs did so for a 135M model in our runs."""
FEW_REPEATS = 30
"""With fewer double judgments the share that agrees is known to no better than 15 points either way (2 x 0.073 at
80 %), and the flip rate to no better than 10."""
LOW_AGREEMENT = 0.6
"""Of double judgments that both prefer one reply. There two people who err alike are wrong in 28 % of their picks; sets
that trained well have 63 % (Bai et al. 2022, arXiv 2204.05862) to 73 % (Ouyang et al. 2022, arXiv 2203.02155)."""
LOW_ALPHA = 0.2
"""Krippendorff's alpha at that level, where both replies win equally often: 2 x 0.6 - 1."""
USUAL_FLIP_RATE = 0.1
"""Taken where too few pairs were ranked twice; the robust paper's own experiments have 0.1 to 0.4."""

SMALL_MODEL, LARGE_MODEL = 135.0, 7000.0
"""Millions of parameters of the two models whose rates are known; between them it goes by the logarithm."""
GROWN_UP = 1000.0
"""Millions of parameters from which a model needs no supervised loss beside DPO's to keep writing whole replies."""

_SIMPO = "Meng et al. 2024, arXiv 2405.14734"
_ORPO = "Hong et al. 2024, arXiv 2403.07691"
_KTO = "Ethayarajh et al. 2024, arXiv 2402.01306"


@dataclass(frozen=True)
class Advice:
    """A recipe and a reason for each of its knobs."""

    values: RecipeValues
    reasons: Mapping[str, Reason]
    """By the knob's name, every one of `training.recipe.recipe.KNOBS`."""

    def changed_knobs(self, recipe: RecipeValues) -> tuple[str, ...]:
        """Names of the knobs that are set to something else."""
        return tuple(name for name in KNOBS if getattr(recipe, name) != getattr(self.values, name))

    def name_recipe(self, recipe: RecipeValues) -> str:
        """A recipe's name: as advised, or with which changes."""
        changed = ", ".join(KNOBS[name].label.lower() for name in self.changed_knobs(recipe))
        return f"{method_name(recipe.method)}, {f'with own {changed}' if changed else 'as advised'}"


@dataclass(frozen=True)
class DoubleJudgments:
    """Pairs that several people ranked, where both preferred one reply: ties say nothing about wrong picks."""

    pairs: int
    """Pairs of such opinions on the same comparison."""
    same: int
    """Those of them that prefer the same reply."""

    @property
    def share(self) -> float | None:
        """Of them that agree; none without any."""
        return self.same / self.pairs if self.pairs else None

    @property
    def sentence(self) -> str:
        """How many agree, in words, without the full stop."""
        return f"{self.share or 0:.0%} of {self.pairs} double judgments agree"


def count_double_judgments(opinions: Iterable[tuple[int, str]]) -> DoubleJudgments:
    """Count (comparison id, preferred reply's mark); opinions that prefer neither are left out by the caller."""
    preferred: dict[int, list[str]] = defaultdict(list)
    for comparison_id, mark in opinions:
        preferred[comparison_id].append(mark)
    same = [first == second for marks in preferred.values() for first, second in combinations(marks, 2)]
    return DoubleJudgments(len(same), sum(same))


@dataclass(frozen=True)
class FlipRate:
    """The share of picks that is wrong, as far as agreement tells."""

    rate: float | None
    """In [0, 0.5); none where it cannot be told."""
    sentence: str


def flip_rate(judgments: DoubleJudgments) -> FlipRate:
    """From agreement: two people who are each wrong in a share e of picks agree in A = (1-e)^2 + e^2.

    So e = (1 - sqrt(2A - 1)) / 2, the Dawid-Skene model with one error rate and two classes (Dawid and Skene 1979). It
    takes errors to be independent; where both fall for the same thing, more is wrong than this says.
    """
    if judgments.share is None or judgments.pairs < FEW_REPEATS:
        few = f"Only {judgments.pairs} double judgments, too few to tell how many picks are wrong"
        remedy = "Let two people rank a share of the pairs (page Progress)."
        return FlipRate(None, f"{few}: {FEW_REPEATS} are the least. {remedy}")
    if judgments.share <= 0.5:
        coin = "no more than by tossing a coin: no share of wrong picks explains that."
        return FlipRate(None, f"{judgments.sentence}, {coin}")
    rate = (1 - math.sqrt(2 * judgments.share - 1)) / 2
    return FlipRate(round(rate, 3), f"{judgments.sentence}, so about {rate:.0%} are wrong.")


def cautions(*, pairs: int, judgments: DoubleJudgments, alpha: float | None) -> tuple[str, ...]:
    """What stands in the way of a good model, each with what to do instead of training; none is no reason to refuse."""
    sentences = []
    if pairs < FEW_PAIRS:
        sentences.append(
            f"{pairs} pairs to train on: below {FEW_PAIRS}, expect small shifts of style and nothing else. Rank more "
            "pairs, correct replies (each is a pair), or put what you want into the instructions on Try prompts."
        )
    low = (judgments.share is not None and judgments.share < LOW_AGREEMENT) or (alpha is not None and alpha < LOW_ALPHA)
    if judgments.pairs >= FEW_REPEATS and low:
        sentences.append(
            f"People agree too little ({judgments.sentence}; {LOW_AGREEMENT:.0%} is the least): a model would learn "
            "noise. Sharpen the guideline, talk over the pairs on Decide, rank again; the robust loss helps "
            "only a little."
        )
    return tuple(sentences)


def advise_recipe(
    *,
    pairs: int,
    parameters: float | None,
    gpu: bool,
    method: Method = Method.DPO,
    loss: Loss = Loss.SIGMOID,
    adapter: Adapter | None = Adapter.LORA,
    longest: int = 0,
    validation: int = 0,
    flips: FlipRate | None = None,
) -> Advice:
    """A recipe for such a training, every knob with its reason.

    Args:
        parameters: of the base model in millions; none where unknown, then it is taken for a small one.
        longest: tokens of the longest row, about; 0 where unknown.
        validation: rows set aside; ``pairs`` are those to train on.
    """
    size = parameters or SMALL_MODEL
    loss = loss if method in WITH_LOSSES else Loss.SIGMOID
    decided: dict[str, tuple[Any, Reason]] = {
        "learning_rate": _learning_rate(method, adapter, size),
        "beta": _beta(method, loss, size),
        "rpo_alpha": _rpo_alpha(method, size),
        "label_smoothing": _label_smoothing(loss, flips),
        "epochs": _epochs(method, pairs),
        "effective_batch_size": _effective_batch_size(pairs, gpu),
        "lora_alpha": _lora_alpha(adapter, size),
        "max_length": _max_length(longest),
    }
    chosen = {"name": f"{method_name(method)}, as advised", "method": method, "loss": loss, "adapter": adapter}
    values = RecipeValues(**chosen | {name: value for name, (value, _) in decided.items()})
    steps = values.steps(pairs)
    decided |= {"warmup_steps": _warmup_steps(steps), "evaluation_count": _evaluation_count(steps, validation)}
    return Advice(
        replace(values, **{name: value for name, (value, _) in decided.items()}),
        {name: knob.reason for name, knob in KNOBS.items()}
        | {"method": Reason(METHODS[method].description, KNOBS["method"].source)}
        | {name: reason for name, (_, reason) in decided.items()},
    )


def _round_rate(rate: float) -> float:
    """The nearest of 1, 2 and 5 times a power of ten, by ratio: a rate is known to no more than that."""
    power = 10.0 ** math.floor(math.log10(rate))
    nearest = min((1, 2, 5, 10), key=lambda digit: abs(math.log(rate / (digit * power))))
    return float(f"{nearest * power:.0e}")


def _by_size(small: float, large: float, size: float) -> float:
    """A value for a model of this size from those of a small and a large one; beyond them it stays as it is."""
    share = math.log(size / SMALL_MODEL) / math.log(LARGE_MODEL / SMALL_MODEL)
    return small * math.pow(large / small, min(1.0, max(0.0, share)))


def _learning_rate(method: Method, adapter: Adapter | None, size: float) -> tuple[float, Reason]:
    ten = "an adapter takes ten times what training every weight takes" if adapter else "every weight is trained"
    if method is Method.SFT:
        rate, why = 2e-4 if adapter else 2e-5, "Learning to write takes larger steps than learning to prefer"
        return rate, Reason(f"{why}; {ten}.", f"2e-5: {TRL}, SFT")
    if method is Method.SIMPO:
        rate = 5e-6 if adapter else 5e-7
        return rate, Reason(f"Nothing holds the model back, so small steps; {ten}.", f"3e-7 to 1e-6: {_SIMPO}")
    if method is Method.ORPO:
        rate = 5e-5 if adapter else 5e-6
        return rate, Reason(f"Between learning to write and learning to prefer; {ten}.", f"5e-6 to 8e-6: {_ORPO}")
    lora = _round_rate(_by_size(1e-4, 5e-6, size))
    rate = lora if adapter else _round_rate(lora / 10)
    source = f"1e-4 for 135M: {OURS}; 5e-6 for 7B: {HANDBOOK}; ten times: {TRL}, PEFT page"
    parameters = f"{size:.0f} million" if size < 1000 else f"{size / 1000:.1f} billion"
    return rate, Reason(f"For {parameters} parameters: large models take smaller steps, and {ten}.", source)


def _beta(method: Method, loss: Loss, size: float) -> tuple[float, Reason]:
    fixed: dict[Method | Loss, tuple[float, str, str]] = {
        Method.SFT: (0.1, "SFT reads none.", TRL),
        Method.KTO: (0.1, "The paper's, and good from 0.01 to 1 in it.", _KTO),
        Method.ORPO: (0.1, "The weight of the preference part beside the supervised one.", _ORPO),
        Method.SIMPO: (2.0, "It counts the mean of tokens, a small number, so beta is far larger than DPO's.", _SIMPO),
        Loss.IPO: (
            1.0,
            "Here it sets the gap to reach, 1 / (2 x beta) for each token: 0.5 at 1. At DPO's 0.1 it would be 5, which "
            "no reply reaches, and 20 times the weight of the supervised part.",
            f"Azar et al. 2023, arXiv 2310.12036, and {TRL}, which divides by tokens; worked out, not measured",
        ),
        Loss.SIGMOID_NORM: (
            2.0,
            "By tokens a gap is a hundred times smaller than by replies, so beta has to be far above 0.1.",
            f"2 to 2.5: {_SIMPO}, which counts alike",
        ),
        Loss.APO_ZERO: (0.1, "The paper's.", "D'Oosterlinck et al. 2024, arXiv 2408.06266"),
    }
    if known := fixed.get(method) or fixed.get(loss):
        return known[0], Reason(*known[1:])
    large = size >= LARGE_MODEL / 2
    why = "A large model with a small learning rate may move further." if large else "Holds a small model well."
    return (0.01 if large else 0.1), Reason(why, f"0.1: {TRL} and {OURS}; 0.01: {HANDBOOK}")


def _rpo_alpha(method: Method, size: float) -> tuple[float, Reason]:
    if method is Method.SIMPO:
        return 0.0, Reason("The paper has none; raise it if replies get short.", _SIMPO)
    if method not in WITH_ANCHOR:
        return 0.0, Reason("Only DPO and SimPO read it.", TRL)
    if size < GROWN_UP:
        source = f"{OURS}: 28 of 40 won with it, whole replies"
        return 0.5, Reason("Small models soon write only a few words without it.", source)
    return 0.0, Reason("Large models keep writing whole replies; raise it if replies get short.", HANDBOOK)


def _label_smoothing(loss: Loss, flips: FlipRate | None) -> tuple[float, Reason]:
    source = "Chowdhury et al. 2024, arXiv 2403.00409; the share: Dawid and Skene 1979"
    if loss is not Loss.ROBUST:
        return 0.0, Reason("Only the robust loss reads it.", TRL)
    if flips is None or flips.rate is None:
        unknown = f"{flips.sentence} " if flips is not None else ""
        return USUAL_FLIP_RATE, Reason(f"{unknown}So a usual share is taken.", source)
    return flips.rate, Reason(flips.sentence, source)


def _epochs(method: Method, pairs: int) -> tuple[float, Reason]:
    if method is Method.SFT and pairs < 1000:
        return 3.0, Reason("Learning to write a few hundred replies takes several rounds.", f"3: {TRL}, SFT")
    return 1.0, Reason("A second round mostly learns the pairs by heart.", f"{HANDBOOK}; {OURS}")


def _effective_batch_size(pairs: int, gpu: bool) -> tuple[int, Reason]:
    source = f"4: {OURS}; 16 to 64 for thousands: {HANDBOOK}"
    if pairs < 200:
        steps = f"{pairs} pairs make {math.ceil(pairs / 4)} steps of 4"
        return 4, Reason(f"{steps}; larger ones would leave too few.", source)
    if pairs < 1000:
        return 8, Reason("Steadier steps, and still enough of them.", source)
    much = "A GPU takes many at once." if gpu else "Steady steps; there are enough."
    return (32 if gpu and pairs >= 5000 else 16), Reason(much, source)


def _warmup_steps(steps: int) -> tuple[int, Reason]:
    warmup = min(max(3, math.ceil(steps / 10)), max(1, steps // 3))
    return warmup, Reason(f"About a tenth of {steps} steps, 3 at least.", HANDBOOK)


def _lora_alpha(adapter: Adapter | None, size: float) -> tuple[int, Reason]:
    if adapter is Adapter.RSLORA:
        why = "Divided by the root of the rank, 8 is the scale of LoRA with 32 at rank 16: 2."
        return 8, Reason(why, "arXiv 2312.03732; worked out")
    if size >= GROWN_UP:
        return 16, Reason("As large as the rank, so the adapter counts as it is.", HANDBOOK)
    return 32, Reason("Twice the rank, so a small model moves.", OURS)


def _max_length(longest: int) -> tuple[int, Reason]:
    # guessed from words; a row that is longer ends the training before it begins, and room costs nothing
    needed = math.ceil(longest * 1.3 / 256) * 256
    if needed > 1024:
        row = f"The longest row has about {longest} tokens"
        return needed, Reason(f"{row}; with room, for longer ones are refused.", TRL)
    return 1024, Reason("Every row fits; unused length costs nothing.", TRL)


def _evaluation_count(steps: int, validation: int) -> tuple[int, Reason]:
    if steps < 8:
        return min(2, steps), Reason(f"There are only {steps} steps.", OURS)
    what = f"the {validation} rows set aside and" if validation else "no rows are set aside, so only"
    return 4, Reason(f"Often enough to stop in time: {what} three sample replies.", OURS)
