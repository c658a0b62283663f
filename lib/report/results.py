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
from lib.study.results import (  # noqa: F401  the study's stand below the functions that make them
    MINUS,
    Ablation,
    ArmResult,
    AtOptimum,
    Contrast,
    Dose,
    Estimate,
    Exchange,
    GeneratorGain,
    RateChange,
    Study,
    Walk,
    number,
)


# ---------------------------------------------------------------- the steps
@dataclasses.dataclass(frozen=True)
class Schedules:
    """Notebook 10. facts: a row for each schedule of lib, its columns are study.theory.facts'. ends: a row for each
    (schedule, network and sampler) with the spread on the way back, where 1 is right, for an error `delta` in each
    predicted noise. checks: expected beside simulated numbers."""

    T: int
    delta: float
    facts: pd.DataFrame
    ends: pd.DataFrame
    checks: pd.DataFrame


@dataclasses.dataclass(frozen=True)
class Training:
    """Notebook 20. split: fingerprint of the data it learned from; loss: mean of the last records; bits: the
    variational bound, of it prior = L_T and decoder = L_0 (bits/dim); class_counts: training images of each class;
    notes: what was left out of the data."""

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
    class_counts: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def epochs(self):
        return self.images / self.training_images


def share(percent, n, of):
    """The Estimate of a share of n independent ones, with Wilson's interval."""
    from lib.study.statistics import proportion_interval
    return Estimate(float(percent), *proportion_interval(percent, n), n, of, "%")


def around(mean, sd, n, of="images each"):
    """The Estimate of a mean over random subsets of n; its low and high are where 95 % of such subsets lie."""
    return Estimate(mean, mean - 1.96 * sd, mean + 1.96 * sd, n, of)


@dataclasses.dataclass(frozen=True)
class Memorisation:
    """Are images closer to training images than new real ones of their class are? verdict: one of quality.verdict's
    words. share, expected: percent nearer than `threshold` grey levels (mean over classes); p: of the exact test;
    detectable: percent of copies that it would find; copies: images that are training images."""

    verdict: str
    copies: int
    share: float
    expected: float
    threshold: float
    p: float
    detectable: float
    images: int


@dataclasses.dataclass(frozen=True)
class Generation:
    """Notebook 30. judge: who gives the labels; encoder: the network in whose features distances are measured. frechet:
    Frechet's distance of synthetic to real images, `reference` that of real to real ones at the same n; their low and
    high: where 95 % of such subsets lie. by_class: a row for each class: label_agreement, coverage, coverage_perfect
    (percent)."""

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
    outside_range: float | None     # percent of the values before they are cut to [-1, 1]
    pixel_sd: float
    pixel_sd_real: float
    remade_difference: int | None   # grey levels, of an image that was made again alone
    images_per_second: float | None

    @property
    def pixel_spread(self):
        """Standard deviation of the pixels, in times of that of real images."""
        return self.pixel_sd / self.pixel_sd_real


@dataclasses.dataclass(frozen=True, kw_only=True)
class External(Generation):
    """Notebook 35: images that another generator made; what only a sampling has is None. dataset to notes: as in
    Training, of the real images; synthetic: fingerprint of all images that were read; synthetic_counts: of those that
    were taken, by class; near_test: are they closer to test images than training images are?"""

    dataset: str
    split: str
    synthetic: str
    classes: tuple[str, ...]
    training_images: int
    class_counts: tuple[int, ...]
    synthetic_counts: tuple[int, ...]
    notes: tuple[str, ...]
    near_test: Memorisation


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


STEPS = {kind.__name__: kind for kind in (Schedules, Training, Generation, External, Study, Dose, Ablation, Report)}


# ---------------------------------------------------------------- as JSON
def encode(value):
    """A result as what JSON holds; a DataFrame as its columns, index and rows."""
    if dataclasses.is_dataclass(value):
        return {f.name: encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, pd.DataFrame):
        table = value.astype(object).where(value.notna(), None).to_dict(orient="split")
        return {"names": list(value.index.names)} | {name: encode(part) for name, part in table.items()}
    if isinstance(value, tuple | list):
        return [encode(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value}: expected a finite number in a result")
    return value


def decode(value, kind):
    """Undo `encode` for the annotated type `kind`. A missing field takes its default, so older results still read; an
    unknown field, or a missing one without a default, is an error."""
    if isinstance(kind, types.UnionType):
        kinds = [k for k in typing.get_args(kind) if k is not types.NoneType]
        return None if value is None else decode(value, kinds[0])
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        if unknown := sorted(set(value) - set(hints)):
            raise KeyError(f"{kind.__name__} has no field {', '.join(unknown)}; it has {', '.join(hints)}")
        return kind(**{name: decode(v, hints[name]) for name, v in value.items()})
    if kind is pd.DataFrame:
        names, labels = value["names"], value["index"]
        index = (pd.MultiIndex.from_tuples(map(tuple, labels), names=names) if len(names) > 1
                 else pd.Index(labels, name=names[0]))
        return pd.DataFrame(value["data"], index=index, columns=value["columns"])
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
