"""Data sets by name: `load("digits", canvas=12, per_class=50)` needs no download.

All choices made by chance come from `seed`, through numpy's RandomState: its stream is frozen, so that a seed means the
same images on every machine and in every later version.
"""
import importlib
import inspect
import os

from lib import InputError

# name: the module of lib.data with a function of that name; imported when asked for (torchvision takes seconds)
DATASETS = {"digits": "digits", "cifar10": "official", "fashion_mnist": "official", "folder": "folders"}
SIDE = {"digits": 8, "cifar10": 32, "fashion_mnist": 28}     # of the images as they come, pixels; a folder has its own
TITLES = {"cifar10": "CIFAR-10", "fashion_mnist": "Fashion-MNIST", "folder": "images of a folder"}    # for a reader


def loader(dataset):
    """The function that reads the data set `dataset`; what it takes is its signature."""
    return getattr(importlib.import_module(f"lib.data.{DATASETS[dataset]}"), dataset)


def load(dataset, *, data_dir="", size=0, canvas=0, per_class=0, seed=0):
    """The Split called `dataset`; options as in its loader, 0 or "" = not used, a relative data_dir counts from ROOT.

    InputError for an unknown name, an option out of range or that this data set does not take, and data not to be had.
    """
    if dataset not in DATASETS:
        raise InputError(f"dataset={dataset!r}: expected one of {', '.join(map(repr, DATASETS))}")
    from lib.data.images import SIDES
    options = {"data_dir": data_dir, "size": size, "canvas": canvas, "per_class": per_class, "seed": seed}
    taken = inspect.signature(loader(dataset)).parameters
    for name, value in options.items():
        if value and name not in taken:
            raise InputError(f"{name}={value!r}: dataset={dataset!r} takes only {', '.join(taken)}")
    for name, high in (("size", SIDES[1]), ("canvas", 32)):
        if options[name] and not SIDES[0] <= options[name] <= high:
            raise InputError(f"{name}={options[name]}: expected 0, or a number from {SIDES[0]} to {high}")
    for name in ("per_class", "seed"):
        if options[name] < 0:
            raise InputError(f"{name}={options[name]}: expected at least 0")
    return loader(dataset)(**{name: options[name] for name in taken})


def load_for(settings):
    """The Split that a training's parameters ask for: a mapping with dataset, data_dir, size, canvas, per_class and
    data_seed, such as a run's config. Errors as `load`."""
    options = {name: settings[name] for name in ("dataset", "data_dir", "size", "canvas", "per_class")}
    if options["dataset"] == "folder":          # as for the other sets: "" is the environment's folder
        options["data_dir"] = options["data_dir"] or os.environ.get("DREAMING_DATA_DIR", "")
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
    notes}; of the classes and the three parts, the numbers. Errors as `load`."""
    from lib.data.images import fingerprint
    split = load_for(vars(config))
    return {"dataset": config.dataset, "classes": len(split.classes), "train": len(split.train),
            "validation": len(split.validation), "test": len(split.test), "shape": list(split.image_shape),
            "sha256": fingerprint(split), "notes": list(split.notes)}
