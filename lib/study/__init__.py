"""The study: classifiers, arms, statistics, the quality of synthetic images, the original paper's claims.

The accepted names are here, without torch, so that a plan is checked before any heavy import.
"""
import dataclasses
import re
from collections.abc import Callable

CLASSIFIERS = {         # and how they are called in text
    "mlp": "MLP", "strong-mlp": "strong MLP", "cnn": "CNN", "airbench": "airbench CNN", "resnet18": "ResNet-18"}
OPTIMIZERS = ("adamw", "sgd", "nesterov")
AUGMENTATIONS = ("flip", "shift", "noise", "randaugment", "mixup", "cutmix")     # or several, joined by " and "
OWN = re.compile(r"[^\n]+\.py:[A-Za-z_]\w*")            # a classifier of the user's own, FILE.py:FUNCTION

REAL, MIXED, EQUAL_EPOCHS = "real", "real + synthetic", "real, equal epochs"
PRESENTATIONS = "real, equal presentations"
ORACLE, FURTHER = "real + oracle", "real + further real"
BASE, FREE, SYNTHETIC, CONTROL = GROUPS = "real images", "free augmentation", "synthetic images", "controls"


@dataclasses.dataclass(frozen=True)
class Arm:
    """One way to train a classifier, compared with the others.

    group: one of GROUPS; an arm of FREE is a rival of synthetic images that needs no generator. line: what it trains
    on. build(sources, options): its Mix, made of `Sources` by `ArmOptions`, all of lib.study.arms. augment: how each of
    its batches is augmented, beside what the study does with all arms. filtered: whether it needs the share of the
    images that a filter keeps; needs: which of the Sources' images it cannot do without, of those that not every study
    has: "oracle", "further" or "".
    """

    group: str
    line: str
    build: Callable
    augment: str = ""
    filtered: bool = False
    needs: str = ""


ARMS = {
    REAL: Arm(
        BASE, "the real images",
        lambda sources, options: sources.real()),
    "real twice": Arm(
        CONTROL, "every real image twice: a larger set and nothing new",
        lambda sources, options: sources.twice()),
    "real + flip": Arm(
        FREE, "real images, mirrored by chance",
        lambda sources, options: sources.real(), "flip"),
    "real + shift": Arm(
        FREE, "real images, moved by up to an eighth of their side",
        lambda sources, options: sources.real(), "shift"),
    "real + flip and shift": Arm(
        FREE, "real images, mirrored and moved",
        lambda sources, options: sources.real(), "flip and shift"),
    "real + randaugment": Arm(
        FREE, "real images, changed by RandAugment ([Cubuk et al. 2020](https://arxiv.org/abs/1909.13719))",
        lambda sources, options: sources.real(), "randaugment"),
    "real + mixup": Arm(
        FREE, "real images and their labels, two at a time mixed ([Zhang et al. 2018](https://arxiv.org/abs/1710.09412))",
        lambda sources, options: sources.real(), "mixup"),
    "real + cutmix": Arm(
        FREE, "real images, each with a rectangle of another ([Yun et al. 2019](https://arxiv.org/abs/1905.04899))",
        lambda sources, options: sources.real(), "cutmix"),
    "real, balanced": Arm(
        FREE, "the real images, those of small classes repeated until all classes are as large",
        lambda sources, options: sources.balanced()),
    "real, balanced + shift": Arm(
        FREE, "the same, moved by up to an eighth of their side",
        lambda sources, options: sources.balanced(), "shift"),
    "real, balanced + flip and shift": Arm(
        FREE, "the same, mirrored and moved",
        lambda sources, options: sources.balanced(), "flip and shift"),
    "real + noise": Arm(
        CONTROL, "in each batch a share of real images with Gaussian noise",
        lambda sources, options: sources.mixed(sources.noisy(options.seed))),
    "real + retrieval": Arm(
        CONTROL, "in each batch that share of real images: the nearest one to each synthetic image "
        "([Burg et al. 2023](https://arxiv.org/abs/2304.10253))",
        lambda sources, options: sources.mixed(sources.nearest())),
    MIXED: Arm(
        SYNTHETIC, "in each batch that share of synthetic images",
        lambda sources, options: sources.mixed()),
    "real + best synthetic": Arm(
        SYNTHETIC, "the same, only those that a judge is surest of; how many is chosen on validation images",
        lambda sources, options: sources.mixed(sources.best(options.share)), filtered=True),
    "real + random synthetic": Arm(
        SYNTHETIC, "as many, drawn by chance: what the judge's choice is worth",
        lambda sources, options: sources.mixed(sources.random(options.share, options.seed)), filtered=True),
    "real + shift + synthetic": Arm(
        SYNTHETIC, "real and synthetic images, all of them moved",
        lambda sources, options: sources.mixed(), "shift"),
    "synthetic only": Arm(
        SYNTHETIC, "synthetic images alone, of each class at most as many as there are real ones (\"classification "
        "accuracy score\", [Ravuri & Vinyals 2019](https://arxiv.org/abs/1905.10887))",
        lambda sources, options: sources.alone(sources.as_many()[1])),
    "as many real ones": Arm(
        BASE, "as many real images alone as there are in *synthetic only*",
        lambda sources, options: sources.alone(sources.as_many()[0])),
    ORACLE: Arm(
        SYNTHETIC, "in each batch that share of images of a generator that learned from more real images than these",
        lambda sources, options: sources.mixed(sources.oracle), needs="oracle"),
    FURTHER: Arm(
        BASE, "in each batch that share of further real images, at most as many as synthetic ones: the most that "
        "images can add",
        lambda sources, options: sources.mixed(sources.further), needs="further"),
    "real + shuffled labels": Arm(
        CONTROL, "in each batch that share of synthetic images, with each other's labels: what their presence does",
        lambda sources, options: sources.mixed(sources.shuffled(options.seed))),
    PRESENTATIONS: Arm(
        BASE, "the real images, stopped when it has seen as many of them as *real + synthetic* sees",
        lambda sources, options: sources.real(steps=options.equal_presentations)),
    EQUAL_EPOCHS: Arm(
        BASE, "the real images for as many epochs, as in the original paper: fewer updates",
        lambda sources, options: sources.real(steps=sources.equal_epochs(options.steps))),
}


def called(classifier):
    """What a classifier is called in text; one of the user's own by its function's name."""
    return CLASSIFIERS.get(classifier) or classifier.rpartition(":")[2]


def rivals():
    """The names of the arms that need no generator."""
    return [name for name, arm in ARMS.items() if arm.group == FREE]
