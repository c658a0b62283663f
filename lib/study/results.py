"""What the study measures, with its types: `Estimate`, a number with its interval, and the results of its notebooks.

They stand here, below the functions that make them; `lib.report.results` holds those of the other notebooks and knows
how all of them are written and read.
"""
import dataclasses
import math

import pandas as pd

from lib.study import MIXED, REAL

DECIMALS = {"bits/dim": 2, "images": 0}         # by unit; one for all others
MINUS = "\u2212"


# ---------------------------------------------------------------- one number
@dataclasses.dataclass(frozen=True)
class Estimate:
    """A measured number with its 95 % interval.

    low, high: the interval, or None where nothing was repeated; n, of: how many of what it speaks of (5 "networks",
    898 "test images"); unit: "%", "points" (a difference, printed with its sign), "images", "bits/dim", or "";
    p: two-sided p-value of "it is 0", from the same variance as the interval, or None; df: degrees of freedom of its
    Student t interval, or None where it is of another kind.
    """

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    of: str = ""
    unit: str = ""
    p: float | None = None
    df: float | None = None

    def __post_init__(self):
        for name in ("value", "low", "high", "p", "df"):
            number = getattr(self, name)
            if number is not None and not math.isfinite(number):
                raise ValueError(f"{name}={number}: expected a finite number")

    def __str__(self):
        """'64.7 % (63.1 to 66.4)', '+11.6 points (+9.6 to +13.8)'."""
        space = "\u00a0" if self.unit == "%" else " "
        words = self.number(self.value) + (space + self.unit if self.unit else "")
        return words if self.low is None else f"{words} ({self.interval})"

    @property
    def bare(self):
        """'+11.6 (+9.6 to +13.8)': without its unit, for a column that names it."""
        return self.number(self.value) + (f" ({self.interval})" if self.low is not None else "")

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


# ---------------------------------------------------------------- notebook 40
@dataclasses.dataclass(frozen=True)
class ArmResult:
    """One arm of a study. accuracy: mean over its networks (percent); sd: over them; validation: the mean on validation
    images; gain: against the arm real (points), None for that arm itself."""

    arm: str
    steps: int
    accuracy: Estimate
    sd: float
    validation: float
    gain: Estimate | None = None


@dataclasses.dataclass(frozen=True)
class Contrast:
    """The accuracy of `arm` minus that of `against` (points), None where it could not be asked. p: after Holm's
    correction over the study's contrasts, None without one. at_optimum: whether each of them is at its own optimum."""

    arm: str
    against: str
    difference: Estimate | None
    p: float | None
    at_optimum: bool = False


@dataclasses.dataclass(frozen=True)
class AtOptimum:
    """An arm with the steps and the learning rate that are best for it on validation images, chosen among as many as
    for each other arm. edge: whether it takes the most or the fewest steps of all tried, so that its optimum may lie
    beyond them; gain: against the arm real at its own optimum (points), None for that arm itself."""

    arm: str
    steps: int
    lr: float
    edge: bool
    accuracy: Estimate
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
class GeneratorGain:
    """What the images of one setting of the generator add to real images, and how good they are.

    arm: real + synthetic, or real + oracle; setting: in words, "" where there is no other; images: how many its network
    saw in training; distance: Frechet's distance to real images in multiples of that between real ones, the mean over
    the generators; gain: against the arm real, both at their own optimum where that was asked, else at equal updates;
    each: the gain in each replicate.
    """

    arm: str
    setting: str
    images: int
    distance: float
    gain: Estimate
    each: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True)
class Study:
    """Notebook 40. gain: real + synthetic against real at equal updates; presentation_gain: against real images that
    were seen as often as it sees real ones; displacement: what the latter lose against real at equal updates, as the
    synthetic images take their place in a batch; optimum_gain: each arm at its own optimum. verdict: what the three say
    together ("helps", "hurts", "none", "open", or "" without an interval). paper_gain: against real at equal epochs, as
    in the original paper; steps_gain: real against real at equal epochs, what the updates alone do. (None: an arm is
    missing.) rival: the free augmentation that is best on validation, or ""; contrasts: the secondary questions.
    detectable: smallest gain that would be found with 80 % power (points), None without an interval; variance: what the
    gain's variance is made of, a row for each thing repeated: n, variance (points squared). choices: what was chosen on
    validation: choice, taken, candidates. by_class: a row for each class: change of recall, p, label_agreement,
    coverage, coverage_perfect. confusion: rows (arm, true class), a column for each predicted one, percent.

    replicates: complete repetitions of the experiment, of the `planned` ones those that are there, each with a split, a
    generator and a classifier of its own; 0 where generators and seeds are crossed on one split. equivalence: p-value
    of "the gain lies within the margin" (points), which was fixed before anything was measured. optimum: the main arms,
    each with its own best steps and learning rate; empty where that was not asked. test_sets: hashes of the replicates'
    test sets, by which `lib.study.ledger` finds how often they were opened. networks: a row for each arm with
    the test accuracy of each of its networks (percent), of replicate r in column r. augment: what is done with the
    images of all arms, so that it is part of real; generator_gains: of each setting of the generator, those that
    learned from these real images and those that learned from more. between: of several settings of the generator the
    differences of real + synthetic, by pairs, p after Holm's correction over these."""

    classifier: str         # in words: "MLP"
    arms: tuple[ArmResult, ...]
    gain: Estimate
    paper_gain: Estimate | None
    steps_gain: Estimate | None
    rival: str
    contrasts: tuple[Contrast, ...]
    detectable: float | None
    variance: pd.DataFrame
    lr: float
    setting: str
    generators: int
    generator: str          # run folder of the first of those that were taken
    seeds: int
    real_images: int
    synthetic_images: int   # from each generator
    validation_images: int
    test_images: int
    filter_share: float | None
    rates: RateChange | None
    choices: pd.DataFrame
    by_class: pd.DataFrame
    confusion: pd.DataFrame
    replicates: int = 0
    planned: int = 0
    margin: float = 0.5
    equivalence: float | None = None
    optimum: tuple[AtOptimum, ...] = ()
    networks: pd.DataFrame = dataclasses.field(default_factory=pd.DataFrame)
    presentation_gain: Estimate | None = None
    displacement: Estimate | None = None
    verdict: str = ""
    test_sets: tuple[str, ...] = ()
    augment: str = ""
    generator_gains: tuple[GeneratorGain, ...] = ()
    between: tuple[Contrast, ...] = ()

    def arm(self, name):
        """The ArmResult called `name`, or None."""
        return next((a for a in self.arms if a.arm == name), None)

    def best_gain(self, name):
        """The gain of the arm called `name`, both at their own optimum where that was asked, else at equal updates.

        None for one that was not trained."""
        found = [a.gain for arms in (self.optimum, self.arms) for a in arms if a.arm == name]
        return found[0] if found else None

    @property
    def optimum_gain(self):
        """What synthetic images add where each arm is at its own optimum, or None."""
        return next((a.gain for a in self.optimum if a.arm == MIXED), None)

    @property
    def headline(self):
        """The gain that answers the question: with each arm at its own optimum where that was asked."""
        return self.optimum_gain or self.gain

    @property
    def each_gain(self):
        """{arm: its gain in each replicate}, in points; None where generators and seeds are crossed."""
        return None if not self.replicates else {
            arm: (self.networks.loc[arm] - self.networks.loc[REAL]).to_numpy() for arm in self.networks.index}


# ---------------------------------------------------------------- notebook 45
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
    accuracy in percent, low and high of its interval over n networks. best_share: chosen on validation. replicates:
    complete repetitions, each with a split and generator of its own; 0 where all is of one split."""

    classifier: str         # in words: "MLP"
    real_images: int
    synthetic_images: int
    test_images: int
    seeds: int
    steps: int
    best_share: float
    curves: pd.DataFrame
    exchange: tuple[Exchange, ...]
    replicates: int = 0
    planned: int = 0

    def worth(self, exchange):
        """How many real images an Exchange is worth, in words: '142 (90 to 180)', 'at most 18', 'more than 899'."""
        if exchange.real is None:
            return f"more than {self.real_images:,}"
        fewest = self.curves.loc[self.curves["curve"] == "without", "x"].min()
        return f"at most {fewest:,.0f}" if exchange.real.value <= fewest else exchange.real.bare


# ---------------------------------------------------------------- notebook 50
@dataclasses.dataclass(frozen=True)
class Walk:
    """The same sampling without and with a limit on the estimated image. free, clipped: label agreement; lost: points
    of it without the limit; spreads: of the pixels, in times of real ones."""

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
    """Notebook 50. limit: what study.ablation.limit_verdict says, "" where a plan does not ask."""

    trainings: int
    generations: int
    studies: int
    walks: tuple[Walk, ...]
    limit: str
