"""Made-up results, a function for each type, for tests of tables, figures and pages."""
import numpy as np
import pandas as pd

from lib.report.collected import Collected, Sheet, Step
from lib.report.results import (
    Ablation,
    ArmResult,
    Contrast,
    Dose,
    Estimate,
    Exchange,
    Generation,
    GeneratorGain,
    Memorisation,
    Schedules,
    Study,
    Training,
    Walk,
)

DIGITS = tuple("0123456789")
ARMS = {"real": 65.8, "real twice": 65.4, "real + shift": 86.6, "real + synthetic": 77.4,
        "real + shift + synthetic": 86.8, "synthetic only": 69.9, "real + shuffled labels": 9.3, "real, equal epochs": 58.9}
PROVENANCE = {"start": "2026-01-02T03:04:05+00:00", "commit": "0123456789ab", "uncommitted_changes": False,
              "python": "3.12.1", "versions": {"torch": "2.9.0"}, "system": "Linux x86_64", "device": "CPU (x86_64)",
              "threads": 2, "seconds": 60.0, "upstream": {}, "files": {}}


def points(value, half=2.0):
    return Estimate(value, value - half, value + half, 898, "test images", "points", 0.0004 if abs(value) > half else 0.4)


def percent(value, half=1.0):
    return Estimate(value, value - half, value + half, 10, "networks", "%")


def schedules():
    facts = pd.DataFrame({"redundant_steps": [327, 65], "first_noise_gain": [0.02, 31.6]}, index=["linear", "cosine"])
    return Schedules(1000, 0.1, facts, pd.DataFrame({"end": [1.0]}), pd.DataFrame({"expected": [1.0]}))


def training(dataset="digits on a 12x12 canvas", classes=DIGITS, bits=3.3):
    return Training(dataset, "0a1b2c", tuple(classes), 500, 173921, 1000, 32000, 0.077,
                    Estimate(bits, bits - 0.7, bits + 0.7, 100, "test images", "bits/dim"), 0.0, 0.96, 51.0)


def generation(classes=DIGITS, agreement=98.9):
    by_class = pd.DataFrame({"label_agreement": 98.0, "coverage": 80.0, "coverage_perfect": 97.0},
                            index=pd.Index(list(classes), name="class"))
    return Generation(1000, percent(agreement, 0.6), "CNN", percent(97.4), Estimate(0.47), Estimate(0.09, 0.06, 0.12),
                      "CNN", 80.7, 97.8, 0.99, by_class,
                      Memorisation("none found", 0, 0.5, 1.0, 18.3, 0.91, 2.0, 1000), None, 0.0, 0.573, 0.587, 0, 50.0)


def study(classifier="MLP", arms=ARMS, classes=DIGITS, rival="real + shift", **options):
    gained = {arm: points(value - arms["real"]) for arm, value in arms.items() if arm != "real"}
    epochs = "real, equal epochs"
    K = len(classes)
    matrices = {arm: np.full((K, K), (100 - arms[arm]) / (K - 1)) for arm in ("real", "real + synthetic")}
    for arm, matrix in matrices.items():
        np.fill_diagonal(matrix, arms[arm] + np.linspace(-4, 4, K) * (1 if arm == "real" else -1))
    confusion = pd.DataFrame(np.concatenate(list(matrices.values())), columns=list(classes),
                             index=pd.MultiIndex.from_product([matrices, classes], names=["arm", "true"]))
    change = matrices["real + synthetic"].diagonal() - matrices["real"].diagonal()
    by_class = pd.DataFrame({"change of recall": change, "p": 0.01, "label_agreement": 98.0, "coverage": 80.0,
                             "coverage_perfect": 97.0}, index=pd.Index(list(classes), name="class"))
    paper = points(arms["real + synthetic"] - arms[epochs]) if epochs in arms else None
    return Study(**{
        "classifier": classifier, "gain": gained["real + synthetic"], "paper_gain": paper,
        "arms": tuple(ArmResult(arm, 333 if arm == epochs else 1000, percent(value), 0.8, value, gained.get(arm))
                      for arm, value in arms.items()),
        "steps_gain": points(arms["real"] - arms[epochs]) if paper else None,
        "rival": rival if rival in arms else "", "detectable": 4.0,
        "contrasts": (Contrast("real + shift", "real + synthetic", points(9.2), 0.0004),),
        "variance": pd.DataFrame({"n": [5], "variance": [0.3]}, index=["replicates"]), "lr": 0.003,
        "setting": "guidance 2.0", "generators": 2, "generator": "", "seeds": 5, "real_images": 500,
        "synthetic_images": 1000, "validation_images": 179, "test_images": 898, "filter_share": None, "rates": None,
        "choices": pd.DataFrame(), "by_class": by_class, "confusion": confusion} | options)


def scarce():
    """Studies of two numbers of real images, with two settings of the own generator and an oracle."""
    def gains(*given):
        return tuple(GeneratorGain(arm, setting, images, distance, points(value, 1.0), (value - 1, value, value + 1))
                     for arm, setting, images, distance, value in given)

    own, oracle, further = "real + synthetic", "real + oracle", "real + further real"
    few = gains((own, "rung 100", 100, 60.0, -0.4), (own, "rung 300", 300, 40.0, 0.8), (oracle, "the only one", 1200, 30.0, 12.5))
    many = gains((own, "rung 100", 100, 55.0, -2.6), (own, "rung 300", 300, 35.0, -1.9))
    return {"few": study(arms=ARMS | {further: 71.0}, real_images=100, generator_gains=few, replicates=3),
            "many": study(real_images=4500, generator_gains=many, replicates=3)}


def dose():
    rows = [(curve, x, a, a - 1.5, a + 1.5, 3) for curve, points_ in {
        "without": [(50, 22), (120, 33), (250, 48), (500, 66)], "with": [(50, 73), (120, 75), (250, 77), (500, 81)],
        "only": [(120, 37), (250, 50), (500, 61), (1000, 70), (4000, 77)]}.items() for x, a in points_]
    exchange = tuple(
        Exchange(n, percent(a), *((Estimate(real, real - 9, real + 11), Estimate(n / real, n / real - .2, n / real + .3))
                                  if real else (None, None)))
        for n, a, real in ((120, 37.0, 142.0), (250, 50.0, 271.0), (500, 61.0, 420.0), (1000, 70.0, None)))
    return Dose("MLP", 500, 4000, 898, 3, 1000, 0.5,
                pd.DataFrame(rows, columns=["curve", "x", "accuracy", "low", "high", "n"]), exchange)


def ablation(limit=""):
    walks = (Walk("cosine", "eps", "ancestral", 15, percent(60.0), percent(95.0), points(35.0), 3.1, 1.0),
             Walk("linear", "eps", "ancestral", 15, percent(94.0), percent(95.0), points(1.0), 1.0, 1.0))
    return Ablation(5, 7, 5, walks if limit else (), limit)


def sheet(shape=(1, 12, 12), seed=0):
    rng = np.random.default_rng(seed)
    return Sheet(*(rng.integers(0, 256, (n, *shape), dtype=np.uint8) for n in (9, 20, 20)))


TRAIN = {"dataset": "digits", "schedule": "cosine", "target": "eps", "flip": False}
SAMPLE = {"sampler": "ancestral", "sample_steps": 15, "guidance": 2.0}
STUDY = {"synthetic_fraction": 0.5, "batch": 64, "lrs": [0.001, 0.003]}


def steps(studies=None, *, dataset="digits", data="digits on a 12x12 canvas", classes=DIGITS):
    """The steps of a plan with one training, one generation and the `studies` {label: Study}, by default one of an
    MLP."""
    trained = Step("train/cosine", TRAIN | {"dataset": dataset}, training(data, classes))
    made = Step("generate/cosine", SAMPLE, generation(classes), trained)
    studied = [Step(f"augment/{label}", STUDY, result, made)
               for label, result in (studies if studies is not None else {"mlp": study(classes=classes)}).items()]
    return [trained, made, *studied]


def limited():
    """A plan that asks what a limit on the estimated images does: no study."""
    trained = Step("train/cosine", TRAIN, training())
    made = [Step(f"generate/cosine-{kind}", SAMPLE | {"x0_handling": kind}, generation(agreement=agreement), trained)
            for kind, agreement in (("none", 60.0), ("clip", 95.0))]
    return [trained, *made, Step("ablation/default", {}, ablation("survives"))]


def collected(steps_=None, **options):
    """A plan's steps, by default those of `steps`, with images for each generation."""
    chosen = steps() if steps_ is None else steps_
    for k, step in enumerate(chosen):
        if isinstance(step.result, Generation):
            step.__dict__["sheet"] = sheet(seed=k)
    return Collected(tuple(chosen), **{"plan": "made-up", "title": "A plan", "provenance": PROVENANCE} | options)


def full():
    """Everything a plan can have."""
    chosen = steps({"mlp": study(), "cnn": study("CNN", ARMS | {"real": 77.0})})
    return collected([Step("schedules/default", {}, schedules()), *chosen,
                      Step("dose/mlp", {}, dose(), chosen[1]), Step("ablation/default", {}, ablation())])
