"""The parameters of each notebook: one frozen dataclass each, checked where they enter.

Defaults live in a notebook's parameters cell and nowhere else, so that a reader sees them where they are used.
Papermill passes on what it is given (an unknown name, `-p T abc`); these classes don't.
"""
import ast
import dataclasses
import difflib
import json
import math
import typing
from pathlib import Path
from typing import Annotated, NamedTuple

from lib import InputError
from lib.data import DATASETS
from lib.diffusion import (
    COMPILED,
    LOSS_WEIGHTS,
    PATCHES,
    PRECISIONS,
    SAMPLERS,
    SCHEDULES,
    SPACINGS,
    TARGETS,
    X0_HANDLINGS,
)
from lib.study import ARMS, CLASSIFIERS, OPTIMIZERS


# ---------------------------------------------------------------- what a value may be
class Rule(NamedTuple):
    """`accepts(value)` is the test, `accepted` the words that end the error's sentence."""

    accepts: typing.Callable
    accepted: str


def one_of(*names):
    return Rule(lambda v: v in names, "one of " + ", ".join(map(repr, names)))


def at_least(low):
    return Rule(lambda v: v >= low, f"at least {low}")


def above(low):
    return Rule(lambda v: v > low, f"more than {low}")


def between(low, high):
    return Rule(lambda v: low <= v <= high, f"a number from {low} to {high}")


def each(rule):
    return Rule(lambda vs: len(vs) > 0 and all(rule.accepts(v) for v in vs), f"a list, not empty, each {rule.accepted}")


def zero_or(low, high):
    return Rule(lambda v: v == 0 or low <= v <= high, f"0, or a number from {low} to {high}")


Device = Annotated[str, one_of("auto", "cpu", "cuda", "mps")]
Seed = Annotated[int, between(0, 2**31 - 1)]


class Config:
    """Base of the parameter classes: building one checks every type and range (InputError)."""

    def __post_init__(self):
        for name, hint in typing.get_type_hints(type(self), include_extras=True).items():
            check(name, getattr(self, name), hint)
        self.check_together()

    def check_together(self):
        """Raise InputError for values that are fine alone and not together."""


# ---------------------------------------------------------------- one class for each notebook
@dataclasses.dataclass(frozen=True, kw_only=True)
class SchedulesConfig(Config):
    schedules: Annotated[list[str], each(one_of(*SCHEDULES))]
    T: Annotated[int, between(2, 10_000)]
    seed: Seed
    run_dir: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig(Config):
    dataset: Annotated[str, one_of(*DATASETS)]
    data_dir: str
    size: Annotated[int, zero_or(8, 64)]
    canvas: Annotated[int, zero_or(8, 32)]
    per_class: Annotated[int, at_least(0)]
    data_seed: Seed
    schedule: Annotated[str, one_of(*SCHEDULES)]
    T: Annotated[int, between(2, 10_000)]
    target: Annotated[str, one_of(*TARGETS)]
    loss_weight: Annotated[str, one_of(*LOSS_WEIGHTS)]
    channels: Annotated[int, between(8, 512)]
    channel_mult: Annotated[list[int], each(between(1, 16))]
    num_res_blocks: Annotated[int, between(1, 8)]
    attn_resolutions: list[int]
    dropout: Annotated[float, between(0, 0.9)]
    patch: Annotated[int, one_of(*PATCHES)]
    label_drop: Annotated[float, between(0, 0.9)]
    steps: Annotated[int, at_least(1)]
    batch: Annotated[int, at_least(1)]
    lr: Annotated[float, above(0)]
    warmup_steps: Annotated[int, at_least(0)]
    grad_clip: Annotated[float, above(0)]
    ema_halflife_images: Annotated[int, at_least(1)]
    flip: bool
    micro_batch: Annotated[int, at_least(0)]
    precision: Annotated[str, one_of(*PRECISIONS)]
    compiled: Annotated[str, one_of(*COMPILED)]
    bound_images: Annotated[int, at_least(2)]
    bound_draws: Annotated[int, at_least(2)]
    seed: Seed
    device: Device
    run_dir: str

    def check_together(self):
        if self.channels % 8:
            raise InputError(f"channels={self.channels}: expected a multiple of 8 (group normalisation)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class GenerateConfig(Config):
    train_run: str
    images_per_class: Annotated[int, at_least(1)]
    sampler: Annotated[str, one_of(*SAMPLERS)]
    sample_steps: Annotated[int, at_least(1)]
    spacing: Annotated[str, one_of(*SPACINGS)]
    eta: Annotated[float, between(0, 1)]
    guidance: Annotated[float, between(0, 20)]
    x0_handling: Annotated[str, one_of(*X0_HANDLINGS)]
    judge_widths: Annotated[list[int], each(between(1, 4096))]
    judge_steps: Annotated[int, at_least(1)]
    fid: bool
    batch: Annotated[int, at_least(1)]
    precision: Annotated[str, one_of(*PRECISIONS)]
    compiled: Annotated[str, one_of(*COMPILED)]
    seed: Seed
    device: Device
    run_dir: str

    def check_together(self):
        if self.eta and self.sampler != "ddim":
            raise InputError(f"eta={self.eta} with sampler={self.sampler!r}: expected 0, or the sampler 'ddim'")


@dataclasses.dataclass(frozen=True, kw_only=True)
class AugmentConfig(Config):
    generate_runs: Annotated[list[str], each(Rule(bool, "the name of a run"))]
    arms: Annotated[list[str], each(one_of(*ARMS))]
    classifier: Annotated[str, one_of(*CLASSIFIERS)]
    widths: Annotated[list[int], each(between(1, 4096))]
    synthetic_fraction: Annotated[float, between(0.01, 0.99)]
    filter_shares: Annotated[list[float], each(between(0.01, 0.99))]
    steps: Annotated[int, at_least(2)]
    batch: Annotated[int, at_least(1)]
    optimizer: Annotated[str, one_of(*OPTIMIZERS)]
    lrs: Annotated[list[float], each(above(0))]
    weight_decay: Annotated[float, at_least(0)]
    seeds: Annotated[int, between(2, 1000)]
    seed: Seed
    device: Device
    run_dir: str

    def check_together(self):
        for arm in ("real", "real + synthetic"):
            if arm not in self.arms:
                raise InputError(f"arms={self.arms!r}: expected {arm!r} among them")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DoseConfig(Config):
    generate_runs: Annotated[list[str], each(Rule(bool, "the name of a run"))]
    classifier: Annotated[str, one_of(*CLASSIFIERS)]
    widths: Annotated[list[int], each(between(1, 4096))]
    ratios: Annotated[list[float], each(at_least(0))]
    shares: Annotated[list[float], each(between(0, 1))]
    real_fractions: Annotated[list[float], each(between(0.001, 1))]
    synthetic_fraction: Annotated[float, between(0.01, 0.99)]
    steps: Annotated[int, at_least(2)]
    batch: Annotated[int, at_least(1)]
    optimizer: Annotated[str, one_of(*OPTIMIZERS)]
    lr: Annotated[float, above(0)]
    weight_decay: Annotated[float, at_least(0)]
    seeds: Annotated[int, between(2, 1000)]
    seed: Seed
    device: Device
    run_dir: str

    def check_together(self):
        if self.real_fractions != sorted(set(self.real_fractions)):
            raise InputError(f"real_fractions={self.real_fractions!r}: expected rising numbers")


@dataclasses.dataclass(frozen=True, kw_only=True)
class AblationConfig(Config):
    runs: list[str]
    run_dir: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportConfig(Config):
    plan: str
    runs: list[str]
    missing: list[str]
    run_dir: str


class Step(NamedTuple):
    notebook: str
    config: type


STEPS = {
    "schedules": Step("10_schedules", SchedulesConfig),
    "train": Step("20_train_ddpm", TrainConfig),
    "generate": Step("30_generate", GenerateConfig),
    "augment": Step("40_augment", AugmentConfig),
    "dose": Step("45_dose", DoseConfig),
    "ablation": Step("50_ablation", AblationConfig),
    "report": Step("90_report", ReportConfig),
}


# ---------------------------------------------------------------- reading and checking
def check(name, value, hint):
    """Raise InputError unless `value` has the annotated type (an int passes as a float) and keeps its Rule."""
    rules = [r for r in getattr(hint, "__metadata__", ()) if isinstance(r, Rule)]
    want = typing.get_args(hint)[0] if rules else hint
    base, items = typing.get_origin(want) or want, typing.get_args(want)
    if not is_a(value, base) or (items and not all(is_a(v, items[0]) for v in value)):
        kind = f"a list of {items[0].__name__}" if items else {"str": "text", "bool": "True or False"}.get(
            base.__name__, f"a number ({base.__name__})")
        raise InputError(f"{name}={value!r} is {type(value).__name__}, expected {kind}")
    for rule in rules:
        if not rule.accepts(value):
            raise InputError(f"{name}={value!r}: expected {rule.accepted}")


def is_a(value, kind):
    if kind is float:
        return type(value) in (int, float) and math.isfinite(value)
    return type(value) is kind


def build(cls, values):
    """The config of class `cls` with `values`; InputError for a name that it lacks, a missing one, or a bad value."""
    names = [f.name for f in dataclasses.fields(cls)]
    for name in values:
        if name not in names:
            near = difflib.get_close_matches(str(name), names, 1)
            hint = f", perhaps {near[0]!r}" if near else ""
            raise InputError(f"unknown parameter {name!r}{hint}; accepted are {', '.join(names)}")
    if missing := [n for n in names if n not in values]:
        raise InputError(f"parameter {missing[0]!r} has no value")
    return cls(**values)


def defaults(notebook):
    """{name: value} of the literal assignments in the notebook's cell tagged `parameters`."""
    cells = json.loads(Path(notebook).read_text(encoding="utf-8"))["cells"]
    cell = next(c for c in cells if "parameters" in c["metadata"].get("tags", []))
    found = {}
    for node in ast.parse("".join(cell["source"])).body:
        if isinstance(node, ast.Assign):
            found[node.targets[0].id] = ast.literal_eval(node.value)
        elif isinstance(node, ast.AnnAssign):
            found[node.target.id] = ast.literal_eval(node.value)
    return found


def read(cls, namespace):
    """Build `cls` from the notebook variables of the same names: `config = parameters.read(TrainConfig, globals())`.

    Bare papermill injects whatever it was given as a cell that begins with `# Parameters`; a name there that the
    notebook lacks is refused here, as it is by our own command.
    """
    injected = [src for src in namespace.get("In", []) if src.startswith("# Parameters")]
    given = {t.id for src in injected for node in ast.parse(src).body if isinstance(node, ast.Assign)
             for t in node.targets if isinstance(t, ast.Name)}
    names = {f.name for f in dataclasses.fields(cls)}
    return build(cls, {n: namespace[n] for n in sorted(names | given) if n in namespace})
