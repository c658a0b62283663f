import dataclasses
import json
from types import SimpleNamespace

import pytest

from lib import ROOT, InputError
from lib.data import augmentations
from lib.engine import parameters
from lib.engine.parameters import STEPS, build, defaults, read
from lib.engine.values import shown
from lib.study import AUGMENTATIONS

VALUES = {step: defaults(ROOT / "notebooks" / f"{s.notebook}.ipynb") for step, s in STEPS.items()}


@pytest.mark.parametrize("step", STEPS)
def test_the_defaults_of_every_notebook_are_accepted(step):
    assert dataclasses.asdict(build(STEPS[step].config, VALUES[step])) == VALUES[step]


def bad_values():
    """For every parameter of every notebook: values of a wrong type, and some out of range."""
    for step, values in VALUES.items():
        for name, value in values.items():
            wrong = {"str": [3, None], "int": ["3", 1.5, True, None], "float": ["1e-4", True, None, float("nan")],
                     "bool": ["false", 0, 1], "list": ["[1, 2]", (1, 2), None, [1, "x", 2.5]]}[type(value).__name__]
            for bad in wrong:
                yield step, name, bad
    yield from [
        ("train", "dataset", "cifar"), ("train", "schedule", "cosin"), ("train", "T", 0), ("train", "T", 1),
        ("train", "lr", 0), ("train", "lr", -1e-3), ("train", "lr", float("inf")), ("train", "channel_mult", []),
        ("train", "channel_mult", [1, 0]), ("train", "channel_mult", [1] * 9), ("train", "channels", 20), ("train", "batch", 0), ("train", "steps", 0),
        ("train", "size", 7), ("train", "size", 65), ("train", "canvas", 40), ("train", "label_drop", 1.0),
        ("train", "optimizer", "sgd"), ("train", "muon_lr", 0), ("generate", "rung", -1), ("train", "rungs", [320, 320]),
        ("train", "rungs", [31]), ("train", "grad_clip", 0.0), ("train", "seed", -1), ("train", "device", "gpu"), ("train", "per_class", -1),
        ("generate", "sampler", "ddmp"), ("generate", "guidance", -1.0), ("generate", "images_per_class", 0),
        ("augment", "classifier", "svm"), ("augment", "seeds", 1), ("augment", "synthetic_fraction", 0.0),
        ("augment", "synthetic_fraction", 1.0), ("augment", "widths", []), ("schedules", "schedules", ["sigmoidal"]),
    ]


def test_a_bad_value_is_refused_by_name_with_what_is_accepted():
    for step, name, value in bad_values():
        with pytest.raises(InputError) as error:
            build(STEPS[step].config, VALUES[step] | {name: value})
        message = str(error.value)
        assert message.startswith(f"{name}={shown(value)}") and "expected" in message and "\n" not in message


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "\x1b[2J"])
def test_text_that_no_file_or_terminal_can_show_is_refused(text):
    with pytest.raises(InputError, match="^train_run=.*: expected text without control characters$"):
        build(parameters.GenerateConfig, VALUES["generate"] | {"train_run": text})


@pytest.mark.parametrize("value", ["x" * 10**6, [["x"] * 1000] * 1000, 10**400])
def test_a_huge_value_is_told_in_a_few_words(value):
    with pytest.raises(InputError) as error:
        build(parameters.TrainConfig, VALUES["train"] | {"T": value})
    assert len(str(error.value)) < 250


def test_an_unknown_parameter_names_the_nearest_known_one():
    with pytest.raises(InputError, match="unknown parameter 'chanels', perhaps 'channels'; accepted are dataset"):
        build(parameters.TrainConfig, VALUES["train"] | {"chanels": 16})


def test_a_parameter_without_a_value_is_named():
    with pytest.raises(InputError, match="'T' has no value: run the page's first code cell"):
        build(parameters.TrainConfig, {k: v for k, v in VALUES["train"].items() if k != "T"})


def test_an_int_passes_as_a_float_and_stays_what_it_was():
    assert build(parameters.GenerateConfig, VALUES["generate"] | {"guidance": 2}).guidance == 2


def test_what_bare_papermill_injects_is_checked_too():
    namespace = VALUES["schedules"] | {"In": ["", "T = 5", "# Parameters\nseeds = 100\n"], "seeds": 100}
    with pytest.raises(InputError, match="unknown parameter 'seeds', perhaps 'seed'"):
        read(parameters.SchedulesConfig, namespace)
    namespace = VALUES["schedules"] | {"In": ["", "# Parameters\nT = \"abc\"\n"], "T": "abc"}
    with pytest.raises(InputError, match="T='abc' is str, expected a number"):
        read(parameters.SchedulesConfig, namespace)


def test_a_parameter_that_was_renamed_by_hand_is_named_though_the_old_value_is_still_there():
    cell = STEPS["schedules"].file.read_text(encoding="utf-8")
    source = "".join(next(c for c in json.loads(cell)["cells"] if "parameters" in c["metadata"].get("tags", []))["source"])
    namespace = VALUES["schedules"] | {"In": ["", source, "1 +", source.replace("T: int", "Steps: int")], "Steps": 1000}
    with pytest.raises(InputError, match="unknown parameter 'Steps'"):
        read(parameters.SchedulesConfig, namespace)
    assert read(parameters.SchedulesConfig, namespace | {"In": ["", source]}).T == VALUES["schedules"]["T"]


def test_a_decimal_comma_is_told_to_be_a_point():
    with pytest.raises(InputError, match=r"lr=\(0, 2\) is tuple, expected a number .*, written with a point, as 0.002$"):
        build(parameters.TrainConfig, VALUES["train"] | {"lr": (0, 2)})


def test_variables_that_are_not_parameters_are_left_alone():
    namespace = VALUES["schedules"] | {"In": ["x = 1"], "x": 1}
    assert read(parameters.SchedulesConfig, namespace).T == VALUES["schedules"]["T"]


def test_a_generation_asks_for_a_rung_that_its_training_leaves():
    train = build(parameters.TrainConfig, VALUES["train"] | {"rungs": [1000, 3000]})
    read = [SimpleNamespace(config=train, name="cosine")]
    for rung in (0, 1000, 3000):
        build(parameters.GenerateConfig, VALUES["generate"] | {"rung": rung}).check_with(read)
    with pytest.raises(InputError, match=r"rung=2000: expected 0 or one of rungs=\[1000, 3000\] of the training cosine"):
        build(parameters.GenerateConfig, VALUES["generate"] | {"rung": 2000}).check_with(read)


def test_a_classifier_may_be_a_function_and_an_augmentation_several():
    given = {"classifier": "my_file.py:make", "augment": "flip and shift", "arms": ["real", "real + synthetic", "real + cutmix"]}
    assert build(parameters.AugmentConfig, VALUES["augment"] | given).classifier == "my_file.py:make"
    for name, bad in (("classifier", "my_file.py"), ("classifier", "my_file:make"), ("augment", "flip and turn")):
        with pytest.raises(InputError, match=f"^{name}='{bad}': expected"):
            build(parameters.AugmentConfig, VALUES["augment"] | given | {name: bad})


@pytest.mark.parametrize("arm", ["real + flip", "real + flip and shift", "real + shift + synthetic"])
def test_an_arm_that_adds_no_augmentation_is_refused(arm):
    given = {"augment": "shift and flip", "arms": ["real", "real + synthetic", arm]}
    with pytest.raises(InputError, match="^arms=.*: expected no 'real"):
        build(parameters.AugmentConfig, VALUES["augment"] | given)


def test_two_mixtures_at_once_are_refused():
    given = {"augment": "flip and mixup", "arms": ["real", "real + synthetic", "real + cutmix"]}
    with pytest.raises(InputError, match="expected mixup or cutmix, not both"):
        build(parameters.AugmentConfig, VALUES["augment"] | given)


def test_an_arm_that_a_shared_judge_would_choose_for_is_refused():
    arms = ["real", "real + synthetic", "real + best synthetic"]
    config = build(parameters.AugmentConfig, VALUES["augment"] | {"arms": arms, "generate_runs": ["a"]})
    read = SimpleNamespace(name="generate/a", config=SimpleNamespace(judge="shared", run_dir="a"))
    with pytest.raises(InputError, match="expected judge='own' in generate/a"):
        config.check_with([read])


def test_the_accepted_augmentations_are_those_that_there_are():
    assert set(AUGMENTATIONS) == {*augmentations.AUGMENTATIONS, *augmentations.MIXTURES}
