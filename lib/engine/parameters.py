"""The parameters of each notebook: one frozen dataclass each, checked where they enter.

Defaults live in a notebook's parameters cell and nowhere else, so that a reader sees them where they are used.
Papermill passes on what it is given (an unknown name, `-p T abc`); these classes don't.
"""
import ast
import contextlib
import dataclasses
import functools
import importlib.util
import json
import types
import typing
from typing import Annotated, NamedTuple

from lib import ROOT, InputError, data
from lib.diffusion import (
    COMPILED,
    LEVELS,
    LOSS_WEIGHTS,
    PATCHES,
    PRECISIONS,
    SAMPLERS,
    SCHEDULES,
    SPACINGS,
    TARGETS,
    X0_HANDLINGS,
    check_rungs,
)
from lib.diffusion import OPTIMIZERS as TRAINING_OPTIMIZERS
from lib.engine.values import Rule, above, at_least, between, check, each, one_of, perhaps, shown
from lib.study import ARMS, AUGMENTATIONS, CLASSIFIERS, MIXED, OPTIMIZERS, OWN, REAL, generators

# parameter: the steps of whose run(s) it is
READS = {"train_run": ("train",), "generate_runs": ("generate", "external"), "oracle_runs": ("generate",)}

Device = Annotated[str, one_of("auto", "cpu", "cuda", "mps")]
Seed = Annotated[int, between(0, 2**31 - 1)]
CLASSIFIER = Rule(lambda v: v in CLASSIFIERS or OWN.fullmatch(v),
                  one_of(*CLASSIFIERS).accepted + ", or a function of your own, FILE.py:FUNCTION")
AUGMENT = Rule(lambda v: not v or all(part in AUGMENTATIONS for part in v.split(" and ")),
               "\"\", or " + one_of(*AUGMENTATIONS).accepted + ", or several joined by ' and '")
FACTORS = Rule(lambda vs: all(0 < v <= 100 for v in vs), "numbers above 0, to 100")

COUNTS = Rule(lambda value: type(value) in (int, list, dict) and value not in ([], {}) and all(
    type(n) is int and 0 <= n < 2**53 for n in (value.values() if type(value) is dict else value if type(value) is list
                                                else [value])),
    "a number, a list with one for each class, or {class: number}")
PerClass = Annotated[object, COUNTS]


class Config:
    """Base of the parameter classes: building one checks every type and range (InputError)."""

    def __post_init__(self):
        for name, hint in typing.get_type_hints(type(self), include_extras=True).items():
            check(name, getattr(self, name), hint)
        self.check_together()

    def check_together(self):
        """Raise InputError for values that are fine alone and not together."""

    def check_with(self, read, facts=None):
        """Raise InputError for values that do not fit those of the jobs of a plan, `read`, whose results they are used
        with. facts: what lib.data.check tells of the training's images, None before they are read."""


def check_dataset(config):
    """InputError for an option of the data set that is out of range, or that it does not take."""
    options = {name: getattr(config, name) for name in data.ALL_OPTIONS}
    data.check_options(config.dataset, data.OPTIONS[config.dataset], **options)


def check_images(per_class, facts):
    """InputError where `images_per_class` does not fit the classes, or asks for no image."""
    counts = facts["counts"]["train"]
    if not any(data.numbers(per_class, tuple(counts), others=0, real=list(counts.values()), name="images_per_class")):
        raise InputError(f"images_per_class={shown(per_class)}: no image is asked for: expected at least one")


def check_share(name, share, batch):
    """Raise InputError where no batch would hold both real and synthetic images."""
    if not 0 < round(batch * share) < batch:
        raise InputError(f"{name}={share} of batch={batch}: expected at least one real and one synthetic image in it")


def check_generators(read):
    """The generators that a study reads, [(config of the training, config of the generation)] as mappings. InputError
    where two of them make the same images, or learned from others."""
    known = [tuple(dataclasses.asdict(job.config) for job in ((*g.upstream, g)[0], g)) for g in read]
    generators.no_repeats(known, [g.name for g in read])
    generators.same_data(known)
    return known


# ---------------------------------------------------------------- one class for each notebook
@dataclasses.dataclass(frozen=True, kw_only=True)
class SchedulesConfig(Config):
    schedules: Annotated[list[str], each(one_of(*SCHEDULES))]
    T: Annotated[int, between(2, 10_000)]
    seed: Seed
    run_dir: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig(Config):
    dataset: Annotated[str, one_of(*data.DATASETS)]
    data_dir: str
    size: int
    canvas: int
    per_class: PerClass
    classes: list[str]
    group_by: str
    data_seed: Seed
    schedule: Annotated[str, one_of(*SCHEDULES)]
    T: Annotated[int, between(2, 10_000)]
    target: Annotated[str, one_of(*TARGETS)]
    loss_weight: Annotated[str, one_of(*LOSS_WEIGHTS)]
    channels: Annotated[int, between(8, 512)]
    channel_mult: Annotated[list[int], each(between(1, 16)), Rule(lambda v: len(v) <= LEVELS, f"at most {LEVELS}")]
    num_res_blocks: Annotated[int, between(1, 8)]
    attn_resolutions: list[int]
    dropout: Annotated[float, between(0, 0.9)]
    patch: Annotated[int, one_of(*PATCHES)]
    label_drop: Annotated[float, between(0, 0.9)]
    steps: Annotated[int, at_least(1)]
    rungs: list[int]
    batch: Annotated[int, at_least(1)]
    optimizer: Annotated[str, one_of(*TRAINING_OPTIMIZERS)]
    lr: Annotated[float, above(0)]
    muon_lr: Annotated[float, above(0)]
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
        check_dataset(self)
        if self.channels % 8:
            raise InputError(f"channels={self.channels}: expected a multiple of 8 (group normalisation)")
        check_rungs(self.rungs, self.batch)

    def check_with(self, read, facts=None):
        side = self.size or (self.dataset == "digits" and self.canvas) or data.SIDE.get(self.dataset)
        sides = facts["shape"][1:] if facts else [side, side] if side else []
        if any(side % self.patch for side in sides):
            raise InputError(f"patch={self.patch}: expected a divisor of the image's sides, "
                             f"{' x '.join(map(str, sides))}")
        levels = [max(sides) // self.patch] if sides else []
        while sides and len(levels) < len(self.channel_mult):
            levels.append((levels[-1] + 1) // 2)
        if sides and (other := [size for size in self.attn_resolutions if size not in levels]):
            raise InputError(f"attn_resolutions={shown(self.attn_resolutions)}: no level has the size {other[0]}: "
                             f"expected some of {', '.join(map(str, dict.fromkeys(levels)))}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class GenerateConfig(Config):
    train_run: str
    rung: Annotated[int, at_least(0)]
    images_per_class: PerClass
    sampler: Annotated[str, one_of(*SAMPLERS)]
    sample_steps: Annotated[int, at_least(1)]
    spacing: Annotated[str, one_of(*SPACINGS)]
    eta: Annotated[float, between(0, 1)]
    guidance: Annotated[float, between(0, 20)]
    x0_handling: Annotated[str, one_of(*X0_HANDLINGS)]
    judge: Annotated[str, one_of("own", "shared")]
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
        if self.images_per_class == 0:
            raise InputError("images_per_class=0: expected at least 1")
        if self.eta and self.sampler != "ddim":
            raise InputError(f"eta={self.eta} with sampler={self.sampler!r}: expected 0, or the sampler 'ddim'")
        if self.fid and importlib.util.find_spec("torch_fidelity") is None:
            raise InputError("fid=True: expected the package torch-fidelity: pip install torch-fidelity (it downloads "
                             "Inception weights)")

    def check_with(self, read, facts=None):
        train = read[0].config
        if facts:
            check_images(self.images_per_class, facts)
        if self.judge == "shared" and train.dataset == "digits":
            raise InputError("judge='shared' with dataset='digits': expected 'own', as each data_seed of them has "
                             "other test images")
        if self.rung and self.rung not in train.rungs:
            raise InputError(f"rung={self.rung}: expected 0 or one of rungs={shown(train.rungs)} of the training "
                             f"{read[0].name}")
        if self.sample_steps > train.T:
            raise InputError(f"sample_steps={self.sample_steps}: expected at most T={train.T} of the training "
                             f"{read[0].name}")
        if self.guidance != 1 and not train.label_drop:
            raise InputError(f"guidance={self.guidance}: expected 1, as the training {read[0].name} has label_drop=0 "
                             "and so knows no images without their label")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExternalConfig(Config):
    synthetic_dir: str
    images_per_class: PerClass
    dataset: Annotated[str, one_of(*data.DATASETS)]
    data_dir: str
    size: int
    canvas: int
    per_class: PerClass
    classes: list[str]
    group_by: str
    data_seed: Seed
    judge_widths: Annotated[list[int], each(between(1, 4096))]
    judge_steps: Annotated[int, at_least(1)]
    seed: Seed
    device: Device
    run_dir: str

    def check_together(self):
        check_dataset(self)

    def check_with(self, read, facts=None):
        if facts:
            if self.images_per_class:
                check_images(self.images_per_class, facts)
            from lib.data.external import external
            external(self.synthetic_dir, image_shape=facts["shape"], classes=tuple(facts["counts"]["train"]))


@dataclasses.dataclass(frozen=True, kw_only=True)
class AugmentConfig(Config):
    generate_runs: Annotated[list[str], each(Rule(bool, "the name of a run"))]
    oracle_runs: list[str]
    augment: Annotated[str, AUGMENT]
    arms: Annotated[list[str], each(Rule(lambda name: name in ARMS, one_of(*ARMS).accepted))]
    classifier: Annotated[str, CLASSIFIER]
    widths: Annotated[list[int], each(between(1, 4096))]
    synthetic_fraction: Annotated[float, between(0.01, 0.99)]
    filter_shares: Annotated[list[float], each(between(0.01, 0.99))]
    steps: Annotated[int, at_least(2)]
    batch: Annotated[int, at_least(1)]
    optimizer: Annotated[str, one_of(*OPTIMIZERS)]
    lrs: Annotated[list[float], each(above(0))]
    weight_decay: Annotated[float, at_least(0)]
    label_smoothing: Annotated[float, between(0, 0.9)]
    optimum_steps: Annotated[list[float], FACTORS]
    margin: Annotated[float, above(0)]
    seeds: Annotated[int, between(2, 1000)]
    seed: Seed
    precision: Annotated[str, one_of(*PRECISIONS)]
    device: Device
    missing: list[str]
    run_dir: str

    def check_together(self):
        for arm in (REAL, MIXED):
            if arm not in self.arms:
                raise InputError(f"arms={shown(self.arms)}: expected {arm!r} among them")
        if len(set(self.arms)) < len(self.arms):
            raise InputError(f"arms={shown(self.arms)}: expected each once")
        for arm in self.arms:
            if ARMS[arm].augment and set(ARMS[arm].augment.split(" and ")) <= set(self.augment.split(" and ")):
                raise InputError(f"arms={shown(self.arms)}: expected no {arm!r}, as augment={self.augment!r} does the "
                                 "same to all arms")
            if {"mixup", "cutmix"} <= set(f"{self.augment} and {ARMS[arm].augment}".split(" and ")):
                raise InputError(f"augment={self.augment!r} with the arm {arm!r}: expected mixup or cutmix, not "
                                 "both")
        check_share("synthetic_fraction", self.synthetic_fraction, self.batch)

        for arm in self.arms:
            if ARMS[arm].needs == "oracle" and not self.oracle_runs:
                raise InputError(f"arms={shown(self.arms)}: {arm!r} needs oracle_runs")

    def check_with(self, read, facts=None):
        shared = [g.name for g in read if getattr(g.config, "judge", "") == "shared"]
        for arm in self.arms:
            if shared and ARMS[arm].filtered:
                raise InputError(f"arms={shown(self.arms)}: {arm!r} chooses by a judge: expected judge='own' in "
                                 f"{shared[0]}, as a shared one has seen other images than this study's")
        oracles = [g for g in read if g.config.run_dir in self.oracle_runs]
        own = check_generators([g for g in read if g.config.run_dir in self.generate_runs])
        generators.by_setting(own)
        if oracles:
            generators.check_oracles(own, check_generators(oracles))
        for arm in self.arms:
            if ARMS[arm].needs == "further" and not own[0][0]["per_class"]:
                raise InputError(f"arms={shown(self.arms)}: {arm!r} needs a training with per_class, so that real "
                                 "images are left")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DoseConfig(Config):
    generate_runs: Annotated[list[str], each(Rule(bool, "the name of a run"))]
    classifier: Annotated[str, CLASSIFIER]
    widths: Annotated[list[int], each(between(1, 4096))]
    ratios: Annotated[list[float], each(at_least(0))]
    shares: Annotated[list[float], each(between(0, 1))]
    real_fractions: Annotated[list[float], each(between(0.001, 1))]
    synthetic_fraction: Annotated[float, between(0.01, 0.99)]
    steps: Annotated[int, at_least(2)]
    optimum_steps: Annotated[list[float], FACTORS]
    batch: Annotated[int, at_least(1)]
    optimizer: Annotated[str, one_of(*OPTIMIZERS)]
    lr: Annotated[float, above(0)]
    weight_decay: Annotated[float, at_least(0)]
    seeds: Annotated[int, between(2, 1000)]
    seed: Seed
    device: Device
    missing: list[str]
    run_dir: str

    def check_together(self):
        if self.real_fractions != sorted(set(self.real_fractions)):
            raise InputError(f"real_fractions={shown(self.real_fractions)}: expected rising numbers")
        if not max(self.ratios):
            raise InputError(f"ratios={shown(self.ratios)}: expected one above 0 among them")
        check_share("synthetic_fraction", self.synthetic_fraction, self.batch)
        for share in self.shares:
            if 0 < share < 1:
                check_share("shares", share, self.batch)

    def check_with(self, read, facts=None):
        known = check_generators(read)
        train, splits = known[0][0], len({train["data_seed"] for train, _ in known})
        if other := [g.config.images_per_class for g in read if type(g.config.images_per_class) is not int]:
            raise InputError(f"generate_runs: images_per_class={shown(other[0])}: expected one number: a dose has as "
                             "many synthetic images of each class")
        real = facts["train"] / facts["classes"] if facts else train["per_class"]      # 0: all, and so unknown
        real = real if type(real) is not dict and type(real) is not list else 0
        made = sum(g.config.images_per_class for g in read) // splits                  # of each replicate
        if real and made and max(self.ratios) > made / real + 1e-9:
            raise InputError(f"ratios={shown(self.ratios)}: expected at most {made / real:g}, {made} synthetic for "
                             f"{real:g} real images of each class; raise images_per_class or name more runs")
        if real and any(ratio and not round(ratio * real) for ratio in self.ratios):
            raise InputError(f"ratios={shown(self.ratios)}: expected 0, or at least {1 / real:.2g}, one synthetic "
                             "image of each class")


@dataclasses.dataclass(frozen=True, kw_only=True)
class AblationConfig(Config):
    runs: list[str]
    run_dir: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportConfig(Config):
    plan: str
    title: str
    about: str
    runs: list[str]
    missing: list[str]
    run_dir: str


class Step(NamedTuple):
    notebook: str
    config: type

    @property
    def file(self):
        return ROOT / "notebooks" / f"{self.notebook}.ipynb"


STEPS = {
    "schedules": Step("10_schedules", SchedulesConfig),
    "train": Step("20_train_ddpm", TrainConfig),
    "generate": Step("30_generate", GenerateConfig),
    "external": Step("35_external", ExternalConfig),
    "augment": Step("40_augment", AugmentConfig),
    "dose": Step("45_dose", DoseConfig),
    "ablation": Step("50_ablation", AblationConfig),
    "report": Step("90_report", ReportConfig),
}


# {step: {parameter: (its default, what `quick` of notebooks/00_start.ipynb puts in the default's place)}}: fewer
# repetitions, arms and doses. Training, images and steps stay as they are, so that answers get less certain, not other
# ones. A value that somebody chose stays, and so does a plan's.
QUICK = {
    "train": {"bound_images": (100, 20), "bound_draws": (100, 25)},
    "generate": {"judge_steps": (300, 150)},
    "augment": {"arms": (["real", "real twice", "real + flip", "real + shift", "real + flip and shift", "real + noise",
                          "real + retrieval", "real + synthetic", "real + best synthetic", "real + random synthetic",
                          "real + shift + synthetic", "synthetic only", "as many real ones", "real + shuffled labels",
                          "real, equal presentations", "real, equal epochs"],
                         ["real", "real + shift", "real + synthetic", "real, equal epochs"]),
                "seeds": (5, 3)},
    "dose": {"shares": ([0, 0.25, 0.5, 0.75, 1], [0, 0.5, 1]),
             "real_fractions": ([0.02, 0.1, 0.25, 0.5, 1], [0.1, 0.5, 1]), "seeds": (3, 2)},
}


# ---------------------------------------------------------------- reading and checking
def build(cls, values):
    """The config of class `cls` with `values`; InputError for a name that it lacks, a missing one, or a bad value."""
    fields = {f.name: f for f in dataclasses.fields(cls)}
    for name in values:
        if name not in fields:
            raise InputError(f"unknown parameter {shown(name)}{perhaps(name, fields)}; "
                             f"accepted are {', '.join(fields)}")
    values = {name: {str(key): n for key, n in value.items()} if isinstance(value, dict) else value     # as in JSON
              for name, value in values.items()}
    if missing := [n for n, f in fields.items() if n not in values and f.default is dataclasses.MISSING]:
        raise InputError(f"parameter {missing[0]!r} has no value: run the page's first code cell")
    return cls(**values)


# ---------------------------------------------------------------- a step's notebook
def cells(file):
    """The cells of a notebook. InputError, naming it, where it is none: a merge conflict, text that is no JSON."""
    where = f"notebooks/{file.name}"
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{where}: it can't be read ({error})") from None
    try:
        return cells_of(text)
    except (ValueError, TypeError, KeyError, AttributeError):
        if "\n<<<<<<<" in text or "\n>>>>>>>" in text:
            raise InputError(f"{where}: it holds a merge conflict (<<<<<<<): choose one of the two versions") from None
        raise InputError(f"{where}: it can't be read as a notebook; `git checkout {where}` brings back the "
                         "committed one") from None


@functools.lru_cache(maxsize=32)
def cells_of(text):
    return [types.SimpleNamespace(cell_type=cell["cell_type"], source="".join(cell["source"]),
                                  metadata=cell["metadata"], id=cell.get("id")) for cell in json.loads(text)["cells"]]


def python_of(cell, where):
    """The Python code of a cell as a syntax tree, its magics (%time, !ls, name?) as IPython calls them."""
    from IPython.core.inputtransformer2 import TransformerManager
    try:
        return ast.parse(TransformerManager().transform_cell(cell.source))
    except (SyntaxError, ValueError) as error:
        told = f"line {error.lineno}: {error.msg}" if isinstance(error, SyntaxError) else error
        raise InputError(f"{where}: {told}") from None


def defaults(file):
    """{name: value} of the assignments in the cell tagged `parameters`; InputError names notebook and cell."""
    tagged = [(number, cell) for number, cell in enumerate(cells(file), 1)
              if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) != 1:
        raise InputError(f"notebooks/{file.name}: {len(tagged)} cells have the tag 'parameters': expected one")
    (number, cell), found = tagged[0], {}
    where = f"notebooks/{file.name}, cell {number}"
    for node in python_of(cell, where).body:
        try:
            target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
            found[target.id] = ast.literal_eval(node.value)
        except (AttributeError, ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            line = cell.source.splitlines()[node.lineno - 1].strip()[:80]
            raise InputError(f"{where}: {line!r}: expected a line of the form name = value, the value a number, a text "
                             "or a list of them") from None
    return found


def read(cls, namespace):
    """Build `cls` from the notebook variables of the same names: `config = parameters.read(TrainConfig, globals())`.

    Bare papermill injects whatever it was given as a cell that begins with `# Parameters`; a name there that the
    notebook lacks is refused here, as it is by our own command.
    """
    names = {f.name for f in dataclasses.fields(cls)}
    names |= injected(namespace) | typed(names, namespace)
    return build(cls, {n: namespace[n] for n in sorted(names) if n in namespace})


def typed(names, namespace):
    """The parameters in the cell that gave most of `names` a value last: among them is one that was renamed by hand."""
    found = set()
    for source in namespace.get("In", []):
        with contextlib.suppress(SyntaxError):
            assigned = {node.target.id for node in ast.parse(source).body
                        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)}
            found = assigned if len(assigned & names) > len(names) // 2 else found
    return found


def injected(namespace):
    """The names that papermill, or our own command, gave a value in a notebook with these `globals()`."""
    cells = [src for src in namespace.get("In", []) if src.startswith("# Parameters")]
    return {t.id for src in cells for node in ast.parse(src).body if isinstance(node, ast.Assign)
            for t in node.targets if isinstance(t, ast.Name)}
