"""Which generators a study may compare, by their parameters alone, so that a plan is checked before any run."""
from lib import InputError

CHANCE = ("seed", "data_seed", "run_dir", "train_run", "device")     # in these a repeat of a generator may differ
DATA = ("dataset", "data_dir", "size", "canvas", "per_class", "classes", "group_by")


def same_data(generators, names=DATA):
    """InputError unless all generators, [(config of the training, config of the generation)], learned from the same
    data set; replicates may divide it in other ways. names: of the parameters that are compared."""
    for name in names:
        if len(told := sorted({str(train.get(name)) for train, _ in generators})) > 1:
            raise InputError(f"generate_runs: {name} is {' and '.join(told)}: expected generators that learned from "
                             "the same images")


def by_setting(generators):
    """Which generator runs are repeats of each other, with other seeds: {words for what sets them apart: [positions]}.

    generators: [(config of the training, config of the generation)]. All learned from one split; or each setting has
    one generator for each split (data_seed), in that order: these are the replicates. InputError otherwise.
    """
    same_data(generators)
    # both have a batch: the training's counts, that of the sampling changes no image
    told = [{k: str(v) for k, v in (sampling | train).items() if k not in CHANCE} for train, sampling in generators]
    groups, splits = {}, [train["data_seed"] for train, _ in generators]
    for i in sorted(range(len(told)), key=splits.__getitem__):
        # images from elsewhere and drawn images have different parameters: each kind is described by its own
        alike = [t for t in told if ("synthetic_dir" in t) == ("synthetic_dir" in told[i])]
        kind = "from elsewhere" if "synthetic_dir" in told[i] else "drawn"
        words = ", ".join(f"{k} {v}" for k, v in told[i].items() if len({t.get(k) for t in alike}) > 1)
        groups.setdefault(words or ("the only one" if len(alike) == len(told) else kind), []).append(i)
    if len({len(g) for g in groups.values()}) > 1:
        raise InputError("generate_runs: " + "; ".join(f"{w}: {len(g)}" for w, g in groups.items())
                         + ": expected as many repeats of each setting")
    for words, group in groups.items():
        if len(set(splits)) > 1 and [splits[i] for i in group] != sorted(set(splits)):
            raise InputError(f"generate_runs: {words}: data_seed {', '.join(str(splits[i]) for i in group)}: expected "
                             "one split for all, or a generator for each split")
    return groups


def check_oracles(own, oracles):
    """InputError unless `oracles` learned from the data set of the `own` generators, whose number of images is limited
    where theirs is not as much, and there is one for each split. Both as in `by_setting`."""
    same_data([*own, *oracles], [name for name in DATA if name != "per_class"])
    few, many = (known[0][0]["per_class"] for known in (own, oracles))
    if not few or type(few) is type(many) is int and 0 < many <= few:
        raise InputError(f"oracle_runs: they learned from per_class={many} images and those of generate_runs from "
                         f"per_class={few}: expected more")
    by_setting(oracles)
    seeds = [{train["data_seed"] for train, _ in known} for known in (own, oracles)]
    if missing := sorted(seeds[0] - seeds[1]):
        raise InputError(f"oracle_runs: none has data_seed={missing[0]}: expected one for each split of generate_runs")


def no_repeats(generators, names):
    """InputError where two generators, called `names`, have all parameters in common, seeds too: the same images twice
    are no two repeats."""
    seen = {}
    for name, configs in zip(names, generators, strict=True):
        key = str([{k: v for k, v in c.items() if k not in ("run_dir", "train_run", "device")} for c in configs])
        if key in seen:
            raise InputError(f"generate_runs: {seen[key]} and {name} make the same images: expected another seed or "
                             "another training")
        seen[key] = name
