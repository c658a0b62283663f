"""Tables for readers: each function takes a result and returns a DataFrame of text."""
import re
from statistics import fmean

import pandas as pd

from lib.report.results import MINUS, Estimate, number
from lib.report.text import escape, powers
from lib.study import ARMS, EQUAL_EPOCHS, FURTHER, MIXED, ORACLE, PRESENTATIONS, REAL, statistics
from lib.study.statistics import holm


def show(table, digits=4):
    """A DataFrame styled for a page: its numbers by `text`, a named index as its first columns, no row numbers."""
    has_named_index = table.index.names != [None]
    shown = text(table.reset_index() if has_named_index else table, digits)
    narrow = [name for name in shown if shown[name].str.len().max() <= 12]
    return shown.style.hide(axis="index").set_properties(narrow, **{"white-space": "nowrap"})      # < 0.001


def text(table, digits=4):
    """A copy of a DataFrame with every number as text.

    Floats have `digits` significant digits, whole numbers are in full (1,204), and NaN is empty.
    """
    def cell(value):
        if isinstance(value, str) or pd.isna(value):
            return value if isinstance(value, str) else ""
        plain = f"{value:,}" if pd.api.types.is_integer(value) else f"{value:#.{digits}g}"
        return powers(plain).replace("-", MINUS)
    return table.map(cell)


# ---------------------------------------------------------------- schedules
def schedules(result):
    """A row for each schedule of a Schedules result: both ends, redundant steps, largest noise gain."""
    f = result.facts
    return pd.DataFrame({
        "signal at T": f["signal_at_T"].map(lambda v: powers(f"{v:.1e}")),
        "log-SNR, first": f["log_snr_first"].map(number),
        "last": f["log_snr_last"].map(number),
        "prior KL, bits/dim": f["prior_kl_bits"].map(lambda v: powers(f"{v:.1e}")),
        "redundant": (100 * f["redundant_steps"] / result.T).map(lambda v: f"{number(v)} %"),
        "largest gain": f["largest_noise_gain"].map("{:.3g}".format),
        "at t": f["largest_gain_at"].map("{:,}".format)})


def noise_and_errors(result):
    """A row for each schedule that a Schedules result compares: its noise, and what a small error does under it."""
    compared = result.ends.index.unique(0)
    at_end, lost = (result.ends[column].unstack().loc[compared] for column in ("at the end", "% of pixels lost"))
    facts = result.facts.loc[compared]
    return pd.DataFrame({
        "noise outweighs signal from step": facts["equal_noise_step"].map("{:,.0f}".format),
        "redundant steps": facts["redundant_steps"].map("{:,.0f}".format),
        "first gain": facts["first_noise_gain"].map("{:.3g}".format),
        "spread, stays right": at_end["stays right, plain"].map(lambda v: number(v, 2)),
        "spread, saturates": at_end["saturates, plain"].map(lambda v: number(v, 2)),
        "pixels lost": lost["saturates, plain"].map(lambda v: f"{number(v, 2)} %"),
        "spread, saturates, clipped": at_end["saturates, x0 clipped"].map(lambda v: number(v, 2))})


# ---------------------------------------------------------------- generation
def memorisation(m, part="training"):
    """The verdict of a Memorisation with its numbers, in one row. part: of the images to which these are close."""
    return pd.DataFrame([{
        "verdict": m.verdict, f"close to a {part} image, %": number(m.share),
        "expected of new images, %": number(m.expected), "p": p_value(m.p),
        "threshold, grey levels": number(m.threshold), f"equal to a {part} image": f"{m.copies:,}",
        "copies found from, %": number(m.detectable), "n": f"{m.images:,}"}])


# ---------------------------------------------------------------- study
def choices(table):
    """A row for each choice that was made on validation images. table: `choices` of a Study."""
    return table.rename(columns={"candidates": "mean validation accuracy of each, %"})


def explained(names):
    """What the arms called `names` train on, as a table in Markdown."""
    rows = [f"| {name} | {ARMS[name].line} | {ARMS[name].group} |" for name in names]
    return "\n".join(["| arm | trains on | group |", "|---|---|---|", *rows])


def arms(study, macro=lambda arm: None):
    """A row for each arm of a Study: its accuracy with interval, over all its networks, and its gain against real.
    macro(arm): its macro recall, where that is to be shown and known."""
    recalls = {a.arm: recall.bare for a in study.arms if (recall := macro(a.arm))}
    return pd.DataFrame([{
        "arm": a.arm, "steps": f"{a.steps:,}", "test accuracy, %": a.accuracy.bare} | (
        {"macro recall, %": recalls[a.arm]} if recalls else {}) | {
        "sd": number(a.sd, 2), "networks": f"{a.accuracy.n}",
        "against real, points": a.gain.bare if a.gain else ""} for a in study.arms])


def balanced(study):
    """The name of the free arm with balanced classes that is best on validation images, or ""."""
    found = [a for a in study.arms if a.arm in ARMS and "balanced" in a.arm]
    return max(found, key=lambda a: a.validation).arm if found else ""


def answer(step):
    """{what: its number} of a study (collected.Step), the answer first; None for what was not asked."""
    study, levelled = step.result, balanced(step.result)
    best, more = {one.arm for one in study.optimum}, statistics.repetitions_for_half(study.variance)

    def added(name):
        return f"{study.best_gain(name).bare}, {name}" if name else None

    rows = {"verdict of all comparisons": study.verdict or "open",
            "compared": "each at its best length" if MIXED in best else "at equal updates",
            "synthetic images add, points": study.best_gain(MIXED).bare,
            "the best free augmentation adds": added(study.rival),
            "the best balancing adds": added(levelled if levelled != study.rival else ""),
            "accuracy with real images alone, %": study.arm(REAL).accuracy.bare}
    if step.recalls is not None:
        rows["macro recall with real images alone, %"] = step.macro(REAL).bare
        rows["macro recall: synthetic images add, at equal updates"] = step.macro(MIXED, REAL).bare
        if levelled:
            rows["macro recall: balancing adds, at equal updates"] = step.macro(levelled, REAL).bare
        recall = step.recalls.map(lambda e: e.value)
        worst, counts = recall[REAL].idxmin(), step.training.result.class_counts
        rows["worst class and its recall with real images alone, %"] = (
            f"{escape(worst)}: {number(recall.loc[worst, REAL])}")
        if counts and min(counts) < max(counts):
            rare = step.training.result.classes[counts.index(min(counts))]
            rows["rarest class: its recall, without and with synthetic images, %"] = (
                f"{escape(rare)}: {number(recall.loc[rare, REAL])} and {number(recall.loc[rare, MIXED])}")
    rows["smallest gain found four times in five, points"] = (
        number(study.detectable) if study.detectable else "unknown: too few repetitions")
    if study.replicates:
        rows["repetitions that would find a gain half as small"] = (
            f"{more:,}" if more else "not by repetitions alone: more test images are needed")
    rows["repetitions here; test images"] = f"{study.replicates or 1}; {study.test_images:,}"
    return rows


def recalls(step):
    """A row for each class of a study (collected.Step): its images, and its recall by the main arms."""
    study, training = step.result, step.training.result
    labels, classes = step.predictions[0], training.classes
    names = dict.fromkeys([REAL, MIXED, study.rival, balanced(study)])
    return pd.DataFrame({
        "class": [escape(name) for name in classes],
        "training images": [f"{n:,}" for n in training.class_counts or [0] * len(classes)],
        "test images": [f"{int((labels == k).sum()):,}" for k in range(len(classes))]} | {
        name: [e.bare for e in step.recalls[name]] for name in names if name})


def contrasts(study):
    """The secondary questions of a Study; p after Holm's correction for both."""
    return pd.DataFrame([{
        "question": f"{c.arm} against {c.against}" + ", each at its own optimum" * c.at_optimum,
        "difference, points": c.difference.bare if c.difference else "not asked: an arm is missing",
        "p after Holm": p_value(c.p)} for c in study.contrasts])


def between(study):
    """A row for each pair of settings of the generator: what real + synthetic gains from one to the other."""
    return pd.DataFrame([{
        "setting": escape(c.arm), "against": escape(c.against), "difference, points": c.difference.bare,
        "p after Holm": p_value(c.p)} for c in study.between])


def gains(study):
    """What synthetic images add in a Study, a row for each way to compare, with p; the headline first."""
    ways = {"each arm at its own optimum": (MIXED, REAL, study.optimum_gain),
            "equal updates": (MIXED, REAL, study.gain),
            "equal presentations of real images": (MIXED, PRESENTATIONS, study.presentation_gain),
            "real images fewer, nothing in their place": (PRESENTATIONS, REAL, study.displacement),
            "equal epochs, as in the original paper": (MIXED, EQUAL_EPOCHS, study.paper_gain),
            "more updates alone": (REAL, EQUAL_EPOCHS, study.steps_gain)}
    return pd.DataFrame([{"compared at": way, "arm": arm, "against": against, "difference, points": e.bare,
                          "p": p_value(e.p)} for way, (arm, against, e) in ways.items() if e])


def optimum(study):
    """A row for each main arm of a Study, at its own optimum."""
    return pd.DataFrame([{
        "arm": a.arm, "best steps": f"{a.steps:,}", "learning rate": f"{a.lr:g}",
        "at the edge of the steps tried": "yes" if a.edge else "no", "test accuracy, %": a.accuracy.bare,
        "against real at its own, points": a.gain.bare if a.gain else ""} for a in study.optimum])


def generators(steps):
    """A row for each generator that a study compares: its distance to real images and its gain; then further real ones.

    p after Holm's correction over all generators of the table. steps: studies, as collected.
    """
    corrected = iter(holm([g.gain.p for step in steps for g in step.result.generator_gains if g.gain.p is not None]))
    table = []
    for step in steps:
        study = {"study": escape(step.label), "real images": f"{step.result.real_images:,}"}
        for g in step.result.generator_gains:
            p = next(corrected) if g.gain.p is not None else None
            table.append(study | {
                "images": (GENERATORS[g.arm] if g.images else "from elsewhere") + f" ({escape(g.setting)})" * (
                    not re.fullmatch(r"the only one|from elsewhere|rung \d+", g.setting)),      # a rung: next column
                "seen in training": f"{g.images:,}" if g.images else "unknown",
                "distance, times real to real": number(g.distance), "gain, points": g.gain.bare,
                "p after Holm": p_value(p)})
        if further := step.result.best_gain(FURTHER):
            table.append(study | {"images": "further real ones", "seen in training": "", "gain, points": further.bare,
                                  "distance, times real to real": "1.0", "p after Holm": ""})
    return pd.DataFrame(table)


GENERATORS = {MIXED: "own generator", ORACLE: "one that learned from more"}


def p_value(p):
    """A p-value as text: '0.032', '< 0.001', or '' for None."""
    return "" if p is None else "< 0.001" if p < 0.001 else f"{p:.2g}"


def variance(study):
    """A row for each thing that a Study repeated, with its part of the gain's variance as a standard error."""
    v = study.variance
    return pd.DataFrame({"repeated": v.index, "n": v["n"].map("{:,.0f}".format).to_numpy(),
                         "standard error from it, points": (v["variance"]**0.5).map(lambda x: number(x, 2)).to_numpy()})


def by_class(study):
    """A row for each class: its change of recall and the quality of its synthetic images, as numbers for a figure."""
    return study.by_class.rename(columns={
        "change of recall": "change of recall, points", "p": "p after Holm", "label_agreement": "label agreement, %",
        "coverage": "coverage, %", "coverage_perfect": "coverage of a perfect generator, %"})


def studies(studies):
    """A row for each study: accuracies and gains. studies: {label: Study}."""
    return pd.DataFrame([{
        "study": label, "classifier": s.classifier, "real, %": s.arm(REAL).accuracy.bare,
        "real + synthetic, %": s.arm(MIXED).accuracy.bare, "gain at equal steps, points": s.gain.bare,
        "gain at equal epochs, points": s.paper_gain.bare if s.paper_gain else "",
        "gain at own optimum, points": s.optimum_gain.bare if s.optimum_gain else "",
        "replicates": f"{s.replicates}" if s.replicates else "", "generators": f"{s.generators}", "seeds": f"{s.seeds}"}
        for label, s in studies.items()])


# ---------------------------------------------------------------- dose
def exchange(dose):
    """A row for each number of synthetic images of a Dose: how many real ones give the same accuracy."""
    return pd.DataFrame([{
        "synthetic images alone": f"{e.synthetic:,}", "test accuracy, %": e.accuracy.bare,
        "as good as so many real ones": dose.worth(e),
        "synthetic for a real one": e.per_real.bare if e.per_real else ""} for e in dose.exchange])


# ---------------------------------------------------------------- ablation
VARIED = ("dataset", "canvas", "size", "schedule", "target", "loss_weight", "channels", "channel_mult", "grad_clip",
          "T", "steps", "data_seed", "seed")


def varied(configs):
    """Names of the parameters that differ between the `configs` of trainings; ["schedule"] if none does."""
    return [k for k in VARIED if len({str(c[k]) for c in configs}) > 1] or ["schedule"]


def trained(trainings):
    """A row for each training: what it varies, its cost, what it reached. trainings: {label: (config, Training)}."""
    names = varied([config for config, _ in trainings.values()])
    return pd.DataFrame([{"run": label} | {k: str(config[k]).strip("[]") for k in names} | {
        "bits/dim": t.bits.bare, "million weights": number(t.parameters / 1e6, 2), "images seen": f"{t.images:,}",
        "final loss": number(t.loss, 4), "training time, s": number(t.seconds, 0)}
        for label, (config, t) in trainings.items()])


def generated(generations):
    """A row for each generation: its sampler and its quality. generations: {label: (config, Generation)}."""
    return pd.DataFrame([{
        "run": label, "network": config["train_run"].split("/")[-1], "sampler": config["sampler"],
        "steps": f"{config['sample_steps']}", "guidance": f"{config['guidance']:g}", "x0": config["x0_handling"],
        "values out of range, %": number(g.outside_range), "pixel sd / real": number(g.pixel_spread, 2),
        "label agreement, %": g.label_agreement.bare, "worst class, %": number(g.by_class["label_agreement"].min()),
        "Fréchet distance (real to real)": f"{number(g.frechet.value, 2)} ({number(g.reference.value, 2)})",
        "coverage, % (perfect)": f"{number(g.coverage)} ({number(g.coverage_perfect)})", "n": f"{g.images:,}"}
        for label, (config, g) in generations.items()])


def walks(ablation):
    """A row for each Walk of an Ablation: label agreement and pixel spread without and with a limit on the estimate."""
    return pd.DataFrame([{
        "schedule": w.schedule, "target": w.target, "walk": f"{w.sampler}, {w.steps} steps",
        "agreement without limit, %": w.free.bare, "clipped, %": w.clipped.bare,
        "lost without limit, points": w.lost.bare, "pixel sd / real without limit": number(w.free_spread, 2),
        "clipped": number(w.clipped_spread, 2), "n": f"{w.lost.n:,}"} for w in ablation.walks])

# ---------------------------------------------------------------- report
def trainings(families):
    """The trainings of a report: bits per dimension first, then what made it. families: {name: its replicates
    (collected.Step), or one}; of replicates the mean."""
    return pd.DataFrame([{
        "network": escape(name), "bits/dim": bits([step.result.bits for step in steps]).bare,
        "schedule": steps[0].config["schedule"], "learns": steps[0].config["target"],
        "weights, million": number(steps[0].result.parameters / 1e6, 2), "networks": len(steps),
        "images seen": f"{steps[0].result.images:,}", "passes": number(steps[0].result.epochs)}
        for name, steps in families.items()])


def bits(estimates):
    """The Estimate of one network, or of the mean of replicates, each with test images of its own."""
    if len(estimates) == 1:
        return estimates[0]
    from lib.report.collected import mean_estimate
    return mean_estimate([e.value for e in estimates], "networks", "bits/dim")


def claims(answers):
    """The original paper's claims: claim, verdict, and the number that decides."""
    return pd.DataFrame([{"the original paper says": f"{escape(a.claim)} ({escape(a.where)})", "here": a.verdict,
                          "number": ", ".join(map(escape, filter(None, (str(a.number), a.what))))} for a in answers])


def images(families):
    """How good each generator's images are, beside real ones: {name: its replicates (collected.Step), or one}."""
    rows = []
    for name, steps in families.items():
        values = measures(steps)
        rows.append({"generator": escape(name), "networks": f"{len(steps)}"} | {
            f"{measure} (real images)": f"{number(fmean(e.value for e in estimates), decimals)} "
                                        f"({number(reference, decimals)})"
            for (measure, (estimates, reference)), decimals in zip(values.items(), (1, 2, 1, 1), strict=True)})
    return pd.DataFrame(rows)


def near_test(families):
    """How many images from elsewhere are close to a test image: {name: its replicates (collected.Step), or one}."""
    rows = []
    for name, steps in families.items():
        first, gates = steps[0].result, [step.result.near_test for step in steps]
        counts = zip(first.classes, first.synthetic_counts, strict=True)
        rows.append({
            "images": escape(name), "number": f"{first.images:,}",
            "of each class": ", ".join(f"{escape(label)} ({n:,})" for label, n in counts),
            "near a test image, %": number(fmean(gate.share for gate in gates)),
            "expected by chance, %": number(fmean(gate.expected for gate in gates)),
            "smallest p of the repetitions": p_value(min(gate.p for gate in gates)),
            "verdict": ", ".join(dict.fromkeys(gate.verdict for gate in gates))})
    return pd.DataFrame(rows)


def runs_made(steps):
    """The runs by what made them: commit, device, threads, how many, how long."""
    table = provenance(steps)
    if table.empty:
        return table
    table["step"] = table["run"].str.partition("/")[0]
    grouped = table.groupby(["step", "commit", "device", "threads"], sort=False)
    rows = grouped.agg(runs=("run", "size"), minutes=("seconds", lambda s: number(s.sum() / 60, 1))).reset_index()
    return rows.astype(str)


# ---- as data: the CSV files below the article's figures
def all_gains(studies):
    """For each study (collected.Step) and arm that is compared: gain, low, high, p."""
    found = [(s, arm.arm, arm.gain) for s in studies for arm in s.result.arms if arm.gain]
    found += [(s, "the original paper's comparison", s.result.paper_gain) for s in studies if s.result.paper_gain]
    return pd.DataFrame([{"study": s.label, "arm": arm, "gain": e.value, "low": e.low, "high": e.high, "p": e.p}
                         for s, arm, e in found], columns=["study", "arm", "gain", "low", "high", "p"])


MEASURES = ("recognised, %", "distance to real", "covered, %", "near a training image, %")


def measures(steps):
    """{measure: (Estimates, what real images reach)} of a generation and its replicates (collected.Step)."""
    rows = [((g.label_agreement, g.judge_accuracy.value), (g.frechet, g.reference.value),
             (Estimate(g.coverage), g.coverage_perfect), (Estimate(g.memorisation.share), g.memorisation.expected))
            for g in (step.result for step in steps)]
    return {measure: ([estimate for estimate, _ in column], fmean(reference for _, reference in column))
            for measure, column in zip(MEASURES, zip(*rows, strict=True), strict=True)}


def quality(generations):
    """For each generator (collected.Step) and measure: value, low, high, and what real images reach."""
    return pd.DataFrame([{"generator": step.label, "measure": measure, "value": e.value, "low": e.low, "high": e.high,
                          "reference": reference}
                         for step in generations for measure, ((e,), reference) in measures([step]).items()],
                        columns=["generator", "measure", "value", "low", "high", "reference"])


def provenance(steps):
    """For each run (collected.Step): commit, start, seconds, device, threads; when and why it was taken as current
    though its code had changed ("" where it was not)."""
    kept, rows = ("commit", "uncommitted_changes", "start", "seconds", "device", "threads"), []
    for step in (step for step in steps if step.run):
        made = step.run.provenance
        accepted = "; ".join(f"{entry['date']}: {entry['because']}" for entry in made.get("accepted", []))
        rows.append({"run": step.name} | {k: made[k] for k in kept} | {"seconds": step.seconds, "accepted": accepted})
    return pd.DataFrame(rows, columns=["run", *kept, "accepted"])
