"""One's own images: a folder with a folder of pictures for each class, or `train` and `test` folders of such folders.

Rules: a class's pictures lie in its own folder. Names that start with "." or "@" and __MACOSX are passed over. Links to
folders are followed for a class only, never below one. What is no picture in an accepted format is counted and named in
the split's notes. A picture at most one grey level (rms) from an earlier one is a copy: left out and counted within a
class, refused in two classes. All that is wrong with a folder is told in one InputError, a line for each kind.
"""
import hashlib
import itertools
import re
import unicodedata
from collections import Counter, defaultdict

import numpy as np
import torch

from lib import InputError
from lib.data import SIDES, copies, decoded, pictures
from lib.data.images import Images, Split, hold_out, limit, select
from lib.data.places import absolute

PARTS = {"test": ("test", "testing"), "validation": ("validation", "valid", "val", "dev"),
         "train": ("train", "training")}                    # what the folders of a split may be called
SHARE = 1 / 5               # of each class that is the test, and of the rest that is validation
TESTED = 6                  # fewest test images of a class: coverage (lib.study.quality) needs more than its k = 5
NEEDED = next(n for n in itertools.count() if round(n * SHARE) >= TESTED)       # 28: 6 test, 4 validation, 18 train
LEARNED = 10                # fewest images of a class to learn from, where it has test images of its own


def folder(*, data_dir, size, per_class, classes, group_by, seed):
    """A folder of class folders, class/name.png or .jpg ...: grey (C=1) if all pictures are, else RGB (C=3).

    Photos are turned as their EXIF note says; `size` as in `resize`, 0 where all pictures share one shape. A fifth of
    each class, chosen by `seed`, is the test, and a fifth of the rest validation; `per_class` limits train. Folders
    train/CLASS and test/CLASS, and perhaps validation/CLASS, are taken as they are; training pictures that are copies
    of test pictures are left out. classes: the folders that are read, () for all. group_by: a regular expression that
    is searched in the file names; pictures in whose names it (or its groups) finds the same text, those of a patient or
    scene, come into one part.

    InputError names all that is wrong: transparent and 16-bit pictures, unreadable ones, those under 8 pixels a side or
    over 64 million in all, classes of fewer than NEEDED different pictures (or, with a test of their own, LEARNED).
    """
    root = absolute(data_dir)
    if not data_dir or not root.is_dir():
        raise InputError(f"data_dir={data_dir!r}: expected a folder of class folders, with images as class/name.png; "
                         "data_dir or --data-dir names it")
    problems = []
    try:
        names, files, notes = _find(root, classes, problems)
    except InputError as error:
        raise InputError(f"data_dir={data_dir!r}: {error}") from None
    except OSError as error:
        raise InputError(f"data_dir={data_dir!r}: cannot read {str(error.filename)!r} ({error.strerror})") from None
    usable, images, converted = _read(files, names, root, size, problems)
    kept, copied = _without_copies(images, usable, problems)
    left_out = set(usable) - {usable[i] for i in kept}
    _check_counts(names, [file for file in files if file not in left_out], problems)
    images, files = select(images, kept), [usable[i] for i in kept]
    groups = _groups(files, group_by, problems)
    if not problems:
        train, validation, test = _divide(images, files, groups, bool(group_by), per_class, seed, problems)
    if problems:
        raise InputError("\n".join(f"data_dir={data_dir!r}: {problem}" for problem in problems))
    divided = bool(files[0].part)
    grouped = (f"Pictures of one group stay together: {len(set(groups))} groups by {group_by!r}.",) if group_by else ()
    return Split(select(images, train), select(images, validation), select(images, test),
                 notes + converted + copied + grouped, None if divided else test)


# ---------------------------------------------------------------- finding
class File:
    """A picture: its path, its name for people, its part ("" where the split is to be made) and its class's number."""

    def __init__(self, path, root, part, label):
        self.path, self.part, self.label = path, part, label
        self.name = _text(path.relative_to(root).as_posix())


def _find(root, classes, problems):
    """(names of the classes, the Files, notes on what is left out), sorted by name. InputError where there are no
    classes; what else is wrong is added to `problems`."""
    parts, others = _parts(root)
    found = {part: _class_folders(folder, root) for part, (folder, _) in parts.items()}
    names = sorted({name for folders in found.values() for name in folders})
    if unknown := [name for name in classes if name not in names]:
        raise InputError(f"classes: {unknown[0]!r} is none: expected some of {_list(map(_text, names))}")
    names = [name for name in names if name in classes or not classes]
    if len(names) < 2:
        raise InputError("expected at least 2 class folders, with images as class/name.png, but found "
                         f"{len(names)}: {_list(map(_text, names)) or 'none'}")
    if odd := [_text(name) for name in names if _text(name) != name]:
        problems.append(f"'{_list(odd)}': expected class names in UTF-8 without control characters")
    alike = defaultdict(list)
    for name in names:
        alike[unicodedata.normalize("NFC", name).casefold()].append(name)
    for same in alike.values():
        if len(same) > 1:
            problems.append(f"the classes {' and '.join(map(ascii, same))} differ by case, or by how a letter is "
                            "composed, only: expected names that every system tells apart")
    for part, folders in found.items():
        if lacking := [name for name in names if name not in folders]:
            problems.append(f"{_list(map(_text, lacking))}: expected this class in {part} too, as in the other parts")

    files, nested, links = [], [], 0
    for part, folders in found.items():
        for label, path in [(k, folders[name]) for k, name in enumerate(names) if name in folders]:
            own, no_pictures, below = pictures.contents(path)
            files += [File(picture, root, part, label) for picture in own]
            others += no_pictures
            links += sum(p.is_symlink() for p in below)
            nested += [f"{_text(p.relative_to(root).as_posix())} holds {n} pictures"
                       for p in below if (n := pictures.number_below(p))]
    if nested:
        problems.append(f"{_list(nested)}: expected those of a class in its own folder, not deeper")
    kinds = Counter(_text(path.suffix.lower()) or "without an ending" if path.is_file() else "no files"
                    for path in others)
    kinds += Counter({"beside the class folders": sum(n for _, n in parts.values()), "linked folders": links})
    left_out = _list(f"{kind} ({n})" for kind, n in kinds.most_common())
    return tuple(names), files, (
        (f"Left out, because they are no pictures of a class: {left_out}.",) if left_out else ())


def _parts(root):
    """({part: (its folder, number of pictures beside the class folders)}, other files there)."""
    loose, others, folders = pictures.contents(root)
    parts = {path: part for path in folders for part, names in PARTS.items() if path.name.lower() in names}
    names = _list(repr(path.name) for path in parts)
    if not {"train", "test"} <= set(parts.values()):
        if parts and len(parts) == len(folders):
            largest = max(parts, key=lambda path: parts[path] == "train")
            raise InputError(f"{names}: expected train and test beside each other, or class folders, such as those in "
                             f"{str(largest)!r}; the split is then made from them")
        return {"": (root, len(loose))}, others
    if extra := [repr(path.name) for path in folders if path not in parts]:
        raise InputError(f"{_list(extra)} beside {names}: expected class folders in train and test, and none beside")
    if len(parts) > len(set(parts.values())):
        raise InputError(f"{names}: expected one folder for each of train, validation and test")
    inside = {path: pictures.contents(path) for path in parts}
    others += [path for _, files, _ in inside.values() for path in files]
    return {part: (path, len(inside[path][0]) + (len(loose) if part == "train" else 0))
            for part in PARTS for path in parts if parts[path] == part}, others


def _class_folders(folder, root):
    """{class: its folder}, without links upwards."""
    folders = pictures.contents(folder)[2]
    return {path.name: path for path in folders if not root.resolve().is_relative_to(path.resolve())}


def _groups(files, group_by, problems):
    """What `group_by` finds in the name of each file, as a number for each different text; (N,) int64."""
    number, lacking, groups = {}, [], []
    for file in files:
        match = re.search(group_by, file.path.name)
        groups.append(number.setdefault((match.groups() or match.group()) if match else None, len(number)))
        lacking += [] if match else [file.name]
    if lacking:
        problems.append(f"group_by={group_by!r} is found in no part of {len(lacking)} file names ({_list(lacking)}): "
                        "expected a regular expression that fits all")
    return np.array(groups, np.int64)


def _check_counts(classes, files, problems):
    """The one rule for what is too small, from what later steps need: see NEEDED, TESTED and LEARNED."""
    def check(needed, *parts):
        counts = Counter(file.label for file in files if file.part in parts)
        if few := [f"{_text(name)!r} has {counts[k]}" for k, name in enumerate(classes) if counts[k] < needed]:
            where = f" in {' and '.join(parts)}" if parts[0] else f", so that {TESTED} are left for the test"
            problems.append(f"expected at least {needed} different pictures of each class{where}, but {_list(few)} "
                            f"(read are {', '.join(pictures.EXTENSIONS)})")

    given = {file.part for file in files}
    if given <= {""}:
        return check(NEEDED, "")
    check(LEARNED, "train", "validation")
    check(TESTED, "test")
    for part in given & {"train", "validation"}:
        check(1, part)


# ---------------------------------------------------------------- reading
def _read(files, classes, root, size, problems):
    """(The Files that can be used, their Images, notes on what was converted). A file is decoded once, see `decoded`;
    what is wrong is added to `problems`."""
    wrong, modes = {}, {}
    for file in files:                  # by what the files' first bytes tell, before any is decoded
        try:
            with pictures.opened(file.path) as picture:
                pictures.check_kind(picture)
                modes[file] = picture.mode
        except Exception as error:      # a damaged file can make a decoder raise anything
            wrong[file] = pictures.reason(error, file.path)
    known, new, usable, first = decoded.load(root, size), {}, {}, {}
    for file in modes:
        try:
            with file.path.open("rb") as opened:
                digest = hashlib.file_digest(opened, "sha256").digest()
                new[digest] = known[digest] if digest in known else pictures.decode(opened, size)
                usable[file] = new[digest]
        except Exception as error:
            wrong[file] = pictures.reason(error, file.path)
            continue
        first.setdefault(usable[file].shape[1:], file.name)
        if size == 0 and (len(first) > 1 or max(usable[file].shape) > SIDES[1]):
            shapes = ", ".join(f"{name} is {w}x{h}" for (h, w), name in first.items())
            problems.append(f"size=0: {shapes}: expected size={SIDES[0]} to {SIDES[1]} unless all images share one "
                            f"size of at most {SIDES[1]} pixels")
            new = usable = {}
            break
    if new and new.keys() != known.keys():
        decoded.save(root, size, new)
    _name_wrong(wrong, problems)
    channels = max((picture.shape[0] for picture in usable.values()), default=1)
    images = [np.broadcast_to(picture, (channels, *picture.shape[1:])) for picture in usable.values()]
    stacked = torch.from_numpy(np.stack(images)) if images else torch.zeros(0, 1, 8, 8, dtype=torch.uint8)
    labels = torch.tensor([file.label for file in usable], dtype=torch.int64)
    return list(usable), Images(stacked, labels, classes), _converted({file: modes[file] for file in usable}, channels)


def _converted(modes, channels):
    """A note on the pictures that were no RGB, or no grey, ones as they came."""
    kinds, native = defaultdict(list), "RGB" if channels == 3 else "L"
    for file, mode in modes.items():
        if mode != native:
            kinds[pictures.MODES[mode][1]].append(file.name)
    told = _list(f"{kind} ({len(names)}, such as {names[0]})" for kind, names in kinds.items())
    return (f"Converted to {'RGB' if channels == 3 else 'grey'}: {told}.",) if told else ()


def _name_wrong(wrong, problems):
    """A problem for each kind of unusable file. wrong: {File: why}"""
    cures = {pictures.TRANSPARENT: "expected opaque pictures: give them a background, for example by "
                                   "`magick mogrify -background white -alpha remove -alpha off FILE`",
             pictures.POINTER: "expected the pictures themselves: `git lfs pull` fetches them"}
    for why, cure in cures.items():
        if names := [file.name for file in wrong if wrong[file] == why]:
            problems.append(f"{_list(names)}: {why}: {cure}")
    if rest := [f"{file.name} ({why})" for file, why in wrong.items() if why not in cures]:
        problems.append(f"cannot use {_list(rest)}: expected whole 8-bit pictures, from {SIDES[0]}x{SIDES[0]} to "
                        f"{pictures.PIXELS:,} pixels")


# ---------------------------------------------------------------- copies
def _without_copies(images, files, problems):
    """(The positions of the images that stay, notes on the others). A picture in two classes is a problem.

    Within a part the first of several copies stays; all test pictures of a given test stay. A picture of an earlier
    part (test, validation, train) is no picture of a later one."""
    position, parts = np.arange(len(files)), np.array([file.part for file in files])
    first = position.copy()
    for part in dict.fromkeys(parts):
        own = np.flatnonzero(parts == part)
        first[own] = own[copies.first_near(images.images[own])]
    within = first != position
    for later, earlier in (("validation", "test"), ("train", "validation"), ("train", "test")):
        ours, theirs = (np.flatnonzero(parts == part) for part in (later, earlier))
        if len(ours) and len(theirs):
            near = copies.near(images.images[ours], images.images[theirs])
            first[ours[near >= 0]] = theirs[near[near >= 0]]
    copy, labels = np.flatnonzero(first != position), images.labels.numpy()
    if two := [f"{files[first[i]].name} and {files[i].name}" for i in copy if labels[first[i]] != labels[i]]:
        problems.append(f"the same picture stands in two classes: {_list(two, '; ')}: expected one class for each")
    across = parts[first] != parts
    notes, equal = [], copies.first_equal(images.images) != position
    for who, which in (("Left out", within & ~across & (parts != "test")),
                       ("Left out of their part, as a test or validation must hold new ones", across),
                       ("Kept in the test", within & (parts == "test"))):
        if which.any():
            one, same = int(np.flatnonzero(which)[0]), int((which & equal).sum())
            notes.append(f"{who}, because they are copies of other pictures: {same} equal to another one and "
                         f"{int(which.sum()) - same} at most {copies.COPY:g} grey level from one, such as "
                         f"{files[one].name} of {files[first[one]].name}.")
    return np.flatnonzero((first == position) | (within & ~across & (parts == "test"))), tuple(notes)


# ---------------------------------------------------------------- dividing
def _divide(images, files, groups, grouped, per_class, seed, problems):
    """Positions of the images of train, validation and test."""
    random, parts = np.random.RandomState(seed), np.array([file.part for file in files])
    labels, order = images.labels.numpy(), random.permutation(len(files))
    if grouped and (two := [group for group in set(groups) if len(set(parts[groups == group])) > 1]):
        where = [files[np.flatnonzero(groups == group)[0]].name for group in two]
        problems.append(f"{len(two)} groups have pictures in several parts (those of {_list(where)}): expected each in "
                        "one part")
    if "test" in parts:
        test = np.flatnonzero(parts == "test")
    elif grouped:
        test = order[_whole_groups(labels[order], groups[order], random)]
    else:
        of_class = [order[labels[order] == k] for k in range(len(images.classes))]
        test = np.concatenate([positions[:round(SHARE * len(positions))] for positions in of_class])
    rest = order[~np.isin(order, test) & (parts[order] != "validation")]
    if "validation" in parts:
        validation = np.flatnonzero(parts == "validation")
    elif grouped:
        validation = rest[_whole_groups(labels[rest], groups[rest], random)]
        rest = rest[~np.isin(rest, validation)]
    else:
        return *hold_out(images, rest, SHARE, per_class), test
    for name, part, needed in (("test", test, TESTED), ("validation", validation, 1), ("train", rest, 1)):
        counts = np.bincount(labels[part], minlength=len(images.classes))
        if few := [f"{k!r} has {n}" for k, n in zip(images.classes, counts, strict=True) if n < needed]:
            problems.append(f"with whole groups too few pictures are left for {name}: {_list(few)}: expected at least "
                            f"{needed} of each class, so smaller or more groups")
    return rest if problems else limit(images, rest, per_class), validation, test


def _whole_groups(labels, groups, random):
    """Which images are held out, (N,) bool: whole groups, so that about SHARE of each class is.

    The groups are visited by chance, again and again; one is taken, or put back, if that brings the classes nearer to
    their shares, in squares."""
    names, group = np.unique(groups, return_inverse=True)
    counts = np.zeros((len(names), labels.max(initial=0) + 1))
    np.add.at(counts, (group, labels), 1)
    wanted = np.maximum(SHARE * counts.sum(0), SHARE)
    lacking, taken, order, changed = wanted.copy(), np.zeros(len(names), bool), random.permutation(len(names)), True
    while changed:
        changed = False
        for g in order:
            after = lacking + (counts[g] if taken[g] else -counts[g])
            if np.square(after / wanted).sum() < np.square(lacking / wanted).sum() - 1e-9:
                lacking, taken[g], changed = after, not taken[g], True
    return taken[group]


# ---------------------------------------------------------------- words
def _text(name):
    """`name` on one line and in UTF-8: control characters and what is no UTF-8 are escaped."""
    return "".join(c.encode("unicode_escape").decode() if unicodedata.category(c) in ("Cc", "Cs") else c for c in name)


def _list(items, comma=", "):
    """The first five, and how many more."""
    items = list(items)
    return comma.join(items[:5]) + (f" and {len(items) - 5} more" if len(items) > 5 else "")
