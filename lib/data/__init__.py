"""Data sets by name: `load("digits", canvas=12, per_class=50)` needs no download.

All choices made by chance come from `seed`, through numpy's RandomState: its stream is frozen, so that a seed means the
same images on every machine and in every later version.
"""
import importlib
import inspect
import os
import re

from lib import InputError

# name: the module of lib.data with a function of that name; imported when asked for (torchvision takes seconds)
DATASETS = {"digits": "digits", "cifar10": "official", "fashion_mnist": "official", "folder": "folders"}
OPTIONS = {                 # what each function takes besides `seed`
    "digits": ("canvas", "per_class"),
    "cifar10": ("data_dir", "size", "per_class", "classes"),
    "fashion_mnist": ("data_dir", "size", "per_class", "classes"),
    "folder": ("data_dir", "size", "per_class", "classes", "group_by")}
ALL_OPTIONS = ("data_dir", "size", "canvas", "per_class", "classes", "group_by")
SIDE = {"digits": 8, "cifar10": 32, "fashion_mnist": 28}     # of the images as they come, pixels; a folder has its own
TITLES = {"cifar10": "CIFAR-10", "fashion_mnist": "Fashion-MNIST", "folder": "images of a folder"}    # for a reader
SIDES = (8, 128)            # smallest and largest side of an image, pixels
CANVAS = 32                 # largest side of a canvas


def numbers(value, classes, *, others, real=(), name):
    """How many images of each class a parameter called `name` asks for: a list with a number for each.

    value: one number for all; a list with one for each class; {class: number}, where `others` is that of a class not
    named; or {"fill": N}, as many as are missing to N beside the `real` ones, a list. InputError otherwise.
    """
    if isinstance(value, dict) and list(value) == ["fill"] and real:
        return [max(0, value["fill"] - n) for n in real]
    if isinstance(value, dict):
        if unknown := [key for key in value if key not in classes]:
            raise InputError(f"{name}={short(value)}: {unknown[0]!r} is no class: expected some of "
                             f"{', '.join(classes)}")
        return [value.get(key, others) for key in classes]
    if isinstance(value, list) and len(value) != len(classes):
        raise InputError(f"{name}={short(value)}: expected {len(classes)} numbers, one for each class")
    return value if isinstance(value, list) else [value] * len(classes)


def loader(dataset):
    """The function that reads the data set `dataset`. InputError for an unknown one."""
    if dataset not in DATASETS:
        raise InputError(f"dataset={dataset!r}: expected one of {', '.join(map(repr, DATASETS))}")
    return getattr(importlib.import_module(f"lib.data.{DATASETS[dataset]}"), dataset)


def short(value):
    """`value` as Python writes it, at most 80 letters."""
    return text if len(text := repr(value)) <= 80 else text[:79] + "\u2026"


def check_options(dataset, taken, *, data_dir="", size=0, canvas=0, per_class=0, classes=(), group_by=""):
    """InputError for an option of `dataset` that is out of range, or that is not among those that it takes."""
    given = {"data_dir": (data_dir, ""), "size": (size, 0), "canvas": (canvas, 0), "per_class": (per_class, 0),
             "classes": (list(classes), []), "group_by": (group_by, "")}
    for name, (value, unused) in given.items():
        if value and name not in taken:
            others = [name for name in given if name in taken]
            raise InputError(f"{name}={short(value)}: dataset={dataset!r} takes no {name}: expected {name}={unused!r}; "
                             f"it takes {', '.join(others)}")
    for name, value, high in (("size", size, SIDES[1]), ("canvas", canvas, CANVAS)):
        if value and not SIDES[0] <= value <= high:
            raise InputError(f"{name}={value}: expected 0, or a number from {SIDES[0]} to {high}")
    amounts = [per_class] if isinstance(per_class, int) else getattr(per_class, "values", lambda: per_class)()
    if min(amounts, default=0) < 0:
        raise InputError(f"per_class={short(per_class)}: expected at least 0")
    try:
        re.compile(group_by)
    except re.error as error:
        raise InputError(f"group_by={short(group_by)}: expected a regular expression ({error})") from None
    if classes and not 2 <= len(set(classes)) == len(classes):
        raise InputError(f"classes={short(list(classes))}: expected at least two names, each once")


def load(dataset, *, data_dir="", size=0, canvas=0, per_class=0, seed=0, classes=(), group_by=""):
    """The Split called `dataset`; what its function takes is in OPTIONS, 0, "" or () = not used.

    per_class: training images of each class: one number, a list, or {class: number}; 0 and a class not named: all.
    data_dir: a relative one counts from the working directory. classes: the names of those to load, in the data set's
    own order; () is all. InputError for an unknown name, an option out of range or that this data set does not take,
    and data not to be had.
    """
    options = {"data_dir": data_dir, "size": size, "canvas": canvas, "per_class": per_class, "classes": tuple(classes),
               "group_by": group_by}
    function = loader(dataset)
    taken = inspect.signature(function).parameters
    check_options(dataset, taken, **options)
    if seed < 0:
        raise InputError(f"seed={seed}: expected at least 0")
    return function(**{name: options[name] for name in options if name in taken}, seed=seed)


def load_for(settings):
    """The Split that a training's parameters ask for: a mapping with dataset, data_dir, size, canvas, per_class,
    data_seed, classes and group_by, such as a run's config. A relative data_dir counts from the repository, as a
    notebook may run in any folder. Errors as `load`."""
    options = {name: settings[name] for name in ("dataset", "data_dir", "size", "canvas", "per_class")}
    options |= {name: settings[name] for name in ("classes", "group_by") if name in settings}   # older runs have none
    if options["dataset"] == "folder":          # as for the other sets: "" is the environment's folder
        options["data_dir"] = options["data_dir"] or os.environ.get("DREAMING_DATA_DIR", "")
    if options["data_dir"]:
        from lib.data.places import in_project
        options["data_dir"] = str(in_project(options["data_dir"]))
    return load(**options, seed=settings["data_seed"])


def describe(settings):
    """The name of a data set for a reader: 'digits on a 12x12 canvas', 'CIFAR-10 at 16x16 pixels'.

    settings: a mapping with dataset, canvas and size, such as a run's config.
    """
    name = TITLES.get(settings["dataset"], settings["dataset"])
    if settings["dataset"] == "digits":
        canvas = settings["canvas"]
        name = f"digits on a {canvas}x{canvas} canvas" if canvas > SIDE["digits"] else "plain 8x8 digits"
    return name + (f" at {settings['size']}x{settings['size']} pixels" if settings["size"] else "")


def to_download(settings):
    """The folder to which `load_for` would download a data set first, None where it would not. InputError where the
    folder is a wrong one."""
    if DATASETS[settings["dataset"]] != "official":
        return None
    from lib.data import official, places
    chosen = settings["data_dir"]
    return official.to_download(settings["dataset"], str(places.in_project(chosen)) if chosen else "")


def same_split(split, expected, what="the network"):
    """`split` itself. InputError unless its fingerprint is `expected`, that of the data which `what` learned from: on
    another split, test images could be its training images."""
    from lib.data.images import fingerprint
    if (found := fingerprint(split)) != expected:
        raise InputError(f"the data have changed since {what} learned from them (sha256 {found[:8]} is now loaded, "
                         f"expected {expected[:8]}): make its training again, or put the data back")
    return split


def check(config):
    """Load what a notebook's config asks for and return {dataset, classes, train, validation, test, shape, sha256,
    notes, counts}; of the classes and the three parts, the numbers. counts: {part: {class: images}}. Errors as `load`.
    """
    from lib.data.images import fingerprint
    split = load_for(vars(config))
    return {"dataset": config.dataset, "classes": len(split.classes), "train": len(split.train),
            "validation": len(split.validation), "test": len(split.test), "shape": list(split.image_shape),
            "sha256": fingerprint(split), "notes": list(split.notes), "counts": split.counts}
