"""Typed results: what a step of a plan measured. A measured number is an `Estimate`, so none is shown without interval.

`run.finish(result)` writes a result as JSON and each of its tables as CSV; `run.result` reads it back, with its types.
"""
import dataclasses
import hashlib
import json
import math
import types
import typing

import numpy as np
import pandas as pd

from lib import DamagedError

DECIMALS = {"bits/dim": 2}          # by unit; one for all others
MINUS = "\u2212"


# ---------------------------------------------------------------- one number
@dataclasses.dataclass(frozen=True)
class Estimate:
    """A measured number with its 95 % interval.

    low, high: the interval, or None where nothing was repeated; n, of: how many of what it speaks of (5 "networks",
    898 "test images"); unit: "%", "points" (a difference, printed with its sign), "bits/dim", or ""; p: two-sided
    p-value of "it is 0", from the same variance as the interval, or None.
    """

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    of: str = ""
    unit: str = ""
    p: float | None = None

    def __post_init__(self):
        for name in ("value", "low", "high", "p"):
            number = getattr(self, name)
            if number is not None and not math.isfinite(number):
                raise ValueError(f"{name}={number}: expected a finite number")

    def __str__(self):
        """'64.7 % (63.1 to 66.4)', '+11.6 points (+9.6 to +13.8)'."""
        space = "\u00a0" if self.unit == "%" else " "
        words = self.number(self.value) + (space + self.unit if self.unit else "")
        return words if self.low is None else f"{words} ({self.interval})"

    def number(self, value):
        return number(value, DECIMALS.get(self.unit, 1), signed=self.unit == "points")

    @property
    def interval(self):
        """'63.1 to 66.4'"""
        return "" if self.low is None else f"{self.number(self.low)} to {self.number(self.high)}"

    @property
    def sample(self):
        """'n = 5 networks'"""
        return f"n = {self.n:,} {self.of}".rstrip() if self.n is not None else ""

    @property
    def above_zero(self):
        return self.low is not None and self.low > 0

    @property
    def below_zero(self):
        return self.high is not None and self.high < 0

    @property
    def clear(self):
        """Whether the interval leaves out 0: what a filled marker shows."""
        return self.above_zero or self.below_zero


def number(value, decimals=1, signed=False):
    """A number as text with the real minus sign; what rounds to 0 has no sign. '−0.3', '+1.2', '1,204.0'"""
    text = f"{value:,.{decimals}f}"
    if float(text.replace(",", "")) == 0:
        return text.lstrip("-")
    return text.replace("-", MINUS) if value < 0 else f"+{text}" if signed else text


def p_words(p):
    """'p = 0.03', 'p < 0.001'; '' for None."""
    return "" if p is None else "p < 0.001" if p < 0.001 else f"p = {p:.2g}" if p < 0.095 else f"p = {p:.2f}"


# ---------------------------------------------------------------- the steps
@dataclasses.dataclass(frozen=True)
class Schedules:
    """Notebook 10. facts: a row for each schedule (signal_at_T, redundant_steps, equal_noise_step, first_noise_gain,
    largest_noise_gain, prior_kl_bits); ends: (schedule, kind of network) -> spread at the end of the way back, where 1
    is right; checks: expected beside simulated numbers."""

    T: int
    facts: pd.DataFrame
    ends: pd.DataFrame
    checks: pd.DataFrame


@dataclasses.dataclass(frozen=True)
class Training:
    """Notebook 20. split: fingerprint of the data it learned from; loss: mean of the last records; bits: the
    variational bound, of it prior = L_T and decoder = L_0 (bits/dim)."""

    dataset: str            # in words: "digits on a 12x12 canvas"
    split: str
    classes: tuple[str, ...]
    training_images: int
    parameters: int
    steps: int
    images: int             # seen in training
    loss: float
    bits: Estimate
    bits_prior: float
    bits_decoder: float
    seconds: float

    @property
    def epochs(self):
        return self.images / self.training_images

    @property
    def images_per_second(self):
        return self.images / self.seconds


@dataclasses.dataclass(frozen=True)
class Memorisation:
    """Are images closer to training images than new real ones are? verdict: one of quality.verdict's words. share,
    expected: percent within `threshold` grey levels; p: of the exact test; copies: images that are training images."""

    verdict: str
    copies: int
    share: float
    expected: float
    threshold: float
    p: float
    images: int


@dataclasses.dataclass(frozen=True)
class Generation:
    """Notebook 30. Distances are Frechet's in the judge's features, `reference` that of real to real images at the same
    n. by_class: a row for each class: label_agreement, coverage, coverage_perfect (percent)."""

    images: int
    label_agreement: Estimate
    judge: str
    judge_accuracy: Estimate
    frechet: Estimate
    reference: Estimate
    encoder: str
    coverage: float
    coverage_perfect: float
    density: float
    by_class: pd.DataFrame
    memorisation: Memorisation
    fid: float | None
    outside_range: float    # percent of the values before they are cut to [-1, 1]
    pixel_sd: float
    pixel_sd_real: float
    remade_difference: int  # grey levels, of an image that was made again alone
    images_per_second: float

    @property
    def pixel_spread(self):
        """Standard deviation of the pixels, in times of that of real images."""
        return self.pixel_sd / self.pixel_sd_real


@dataclasses.dataclass(frozen=True)
class ArmResult:
    """One arm of a study. accuracy: mean over its networks (percent); sd: over them; gain: against the arm real."""

    arm: str
    steps: int
    accuracy: Estimate
    sd: float
    gain: Estimate | None = None


@dataclasses.dataclass(frozen=True)
class RateChange:
    """How much the gain on validation changes from the lowest to the highest learning rate tried (points)."""

    low_rate: float
    high_rate: float
    low_gain: float
    high_gain: float
    change: Estimate


@dataclasses.dataclass(frozen=True)
class Study:
    """Notebook 40. gain: real + synthetic against real at equal steps; paper_gain: at equal epochs, as in the original
    paper, None without that arm; detectable: smallest difference found with 80 % power (points). choices: what was
    chosen on validation. by_class: a row for each class: change of recall, p, label_agreement, coverage,
    coverage_perfect. confusion: rows (arm, true class), a column for each predicted one, percent."""

    classifier: str         # in words: "MLP"
    arms: tuple[ArmResult, ...]
    gain: Estimate
    paper_gain: Estimate | None
    detectable: float
    discordance: float
    lr: float
    setting: str
    generators: int
    generator: str          # run folder of the first of those that were taken
    seeds: int
    real_images: int
    synthetic_images: int
    validation_images: int
    test_images: int
    filter_share: float | None
    rates: RateChange | None
    choices: pd.DataFrame
    by_class: pd.DataFrame
    confusion: pd.DataFrame

    def arm(self, name):
        """The ArmResult called `name`, or None."""
        return next((a for a in self.arms if a.arm == name), None)


@dataclasses.dataclass(frozen=True)
class Exchange:
    """`synthetic` images alone do as well as `real` real ones; None: better than all real images that were tried."""

    synthetic: int
    accuracy: Estimate
    real: Estimate | None
    per_real: Estimate | None   # synthetic images for a real one


@dataclasses.dataclass(frozen=True)
class Dose:
    """Notebook 45. curves: a row for each point: curve (ratio, share, without, with, only), x, accuracy, low, high, n;
    accuracy in percent, low and high of its interval over n networks."""

    classifier: str
    real_images: int
    synthetic_images: int
    seeds: int
    steps: int
    best_share: float
    curves: pd.DataFrame
    exchange: tuple[Exchange, ...]


@dataclasses.dataclass(frozen=True)
class Walk:
    """The same sampling with and without a limit on the estimated image. lost: points of label agreement without."""

    schedule: str
    target: str
    sampler: str
    steps: int
    free: Estimate
    clipped: Estimate
    lost: Estimate
    free_spread: float
    clipped_spread: float


@dataclasses.dataclass(frozen=True)
class Ablation:
    """Notebook 50. limit: of study.ablation.limit_verdict, "" where a plan does not ask."""

    trainings: int
    generations: int
    studies: int
    walks: tuple[Walk, ...]
    limit: str


@dataclasses.dataclass(frozen=True)
class Report:
    """Notebook 90: what its own figures and tables show. claims: a row for each claim of the original paper (claim,
    where, verdict, evidence); gains: for each study and comparison (gain, low, high, p); quality: for each generator
    and measure (value, low, high, reference); provenance: for each run."""

    runs: int
    missing: int
    claims: pd.DataFrame
    gains: pd.DataFrame
    quality: pd.DataFrame
    provenance: pd.DataFrame


STEPS = {kind.__name__: kind for kind in (Schedules, Training, Generation, Study, Dose, Ablation, Report)}


# ---------------------------------------------------------------- as JSON
def encode(value):
    """A result as what JSON holds; a DataFrame as its columns, index and rows."""
    if dataclasses.is_dataclass(value):
        return {f.name: encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, pd.DataFrame):
        return json.loads(value.to_json(orient="split", double_precision=15))
    if isinstance(value, tuple | list):
        return [encode(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value}: expected a finite number in a result")
    return value


def decode(value, kind):
    """Undo `encode` for the annotated type `kind`."""
    if isinstance(kind, types.UnionType):
        kinds = [k for k in typing.get_args(kind) if k is not types.NoneType]
        return None if value is None else decode(value, kinds[0])
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        if set(value) != set(hints):
            raise KeyError(f"{kind.__name__} has {', '.join(hints)}, and not {', '.join(value)}")
        return kind(**{name: decode(v, hints[name]) for name, v in value.items()})
    if kind is pd.DataFrame:
        return pd.DataFrame(value["data"], index=value["index"], columns=value["columns"])
    if typing.get_origin(kind) is tuple:
        return tuple(decode(v, typing.get_args(kind)[0]) for v in value)
    return kind(value) if kind is float else value


def dumps(result):
    """The text of result.json: the step's type, a digest of what it holds, and that."""
    held = encode(result)
    return json.dumps({"type": type(result).__name__, "sha256": digest(held), "result": held}, indent=1,
                      ensure_ascii=False, allow_nan=False) + "\n"


def loads(text, where):
    """The result that `dumps` wrote. DamagedError, naming the file `where`, where it was changed by hand or is older
    than the code that reads it."""
    try:
        told = json.loads(text)
        if told["sha256"] != digest(told["result"]):
            raise DamagedError(f"{where}: changed since the run wrote it (its sha256 differs); make the run again")
        return decode(told["result"], STEPS[told["type"]])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, DamagedError):
            raise
        raise DamagedError(f"{where}: not a result of this version ({error}); make the run again") from None


def digest(held):
    return hashlib.sha256(json.dumps(held, sort_keys=True).encode()).hexdigest()


def tables(result):
    """{name: DataFrame} of a result: its tables, and its lists of dataclasses with one column for each number."""
    found = {}
    for field in dataclasses.fields(result):
        value = getattr(result, field.name)
        if isinstance(value, pd.DataFrame):
            found[field.name] = value
        elif isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]):
            found[field.name] = pd.json_normalize([encode(v) for v in value], sep=" ")
    return found
