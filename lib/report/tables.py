"""A result's numbers as the tables that one reads: pure functions, result -> DataFrame of text."""
from statistics import fmean, stdev

import pandas as pd

from lib.report.results import MINUS, Estimate, number
from lib.report.text import escape, powers
from lib.study import ARMS, EQUAL_EPOCHS, MIXED, PRESENTATIONS, REAL


def show(table, digits=4):
    """A table for the page: `text`, with a named index as its first columns and no numbers of rows."""
    named = table.index.names != [None]
    return text(table.reset_index() if named else table, digits).style.hide(axis="index")


def text(table, digits=4):
    """Every number of `table` as text: `digits` significant ones, whole numbers in full (1,204), nothing for NaN."""
    def cell(value):
        if isinstance(value, str) or pd.isna(value):
            return value if isinstance(value, str) else ""
        words = f"{value:,}" if pd.api.types.is_integer(value) else f"{value:#.{digits}g}"
        return powers(words).replace("-", MINUS)
    return table.map(cell)


# ---------------------------------------------------------------- schedules
def schedules(result):
    """A row for each schedule of a Schedules result: its ends, its idle steps, its noise gain."""
    f = result.facts
    return pd.DataFrame({
        "signal at T": f["signal_at_T"].map(lambda v: powers(f"{v:.1e}")),
        "log-SNR, first": f["log_snr_first"].map(number),
        "last": f["log_snr_last"].map(number),
        "prior KL, bits/dim": f["prior_kl_bits"].map(lambda v: powers(f"{v:.1e}")),
        "redundant": (100 * f["redundant_steps"] / result.T).map(lambda v: f"{number(v)} %"),
        "largest gain": f["largest_noise_gain"].map("{:.3g}".format),
        "at t": f["largest_gain_at"].map("{:,}".format)})


# ---------------------------------------------------------------- training

# ---------------------------------------------------------------- generation

# ---------------------------------------------------------------- study
def choices(table):
    """What was chosen on validation images, a row for each choice. table: `choices` of a Study."""
    return table.rename(columns={"candidates": "mean validation accuracy of each, %"})


def explained(names):
    """What the arms called `names` train on, as a table in Markdown."""
    rows = [f"| {name} | {ARMS[name].line} | {ARMS[name].group} |" for name in names]
    return "\n".join(["| arm | trains on | group |", "|---|---|---|", *rows])


def arms(study):
    """Every arm of a Study: its accuracy with its interval, over all its networks, and its gain against real."""
    return pd.DataFrame([{
        "arm": a.arm, "steps": f"{a.steps:,}", "test accuracy, %": a.accuracy.bare, "sd": number(a.sd, 2),
        "networks": f"{a.accuracy.n}", "against real, points": a.gain.bare if a.gain else ""} for a in study.arms])


def contrasts(study):
    """The secondary questions of a Study; p after Holm's correction for both."""
    return pd.DataFrame([{
        "question": f"{c.arm} against {c.against}" + ", each at its own optimum" * c.at_optimum,
        "difference, points": c.difference.bare if c.difference else "not asked: an arm is missing",
        "p after Holm": p_value(c.p)} for c in study.contrasts])


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
    """The main arms of a Study, each at its own optimum."""
    return pd.DataFrame([{
        "arm": a.arm, "best steps": f"{a.steps:,}", "learning rate": f"{a.lr:g}",
        "at the edge of the steps tried": "yes" if a.edge else "no", "test accuracy, %": a.accuracy.bare,
        "against real at its own, points": a.gain.bare if a.gain else ""} for a in study.optimum])


def p_value(p):
    """'0.032', '< 0.001'; '' for None."""
    return "" if p is None else "< 0.001" if p < 0.001 else f"{p:.2g}"


def variance(study):
    """What the variance of a Study's gain is made of: each thing that was repeated, and what it adds."""
    v = study.variance
    return pd.DataFrame({"repeated": v.index, "n": v["n"].map("{:,.0f}".format).to_numpy(),
                         "standard error from it, points": (v["variance"]**0.5).map(lambda x: number(x, 2)).to_numpy()})


def by_class(study):
    """Each class's change of recall beside the quality of its synthetic images; numbers, for a figure."""
    return study.by_class.rename(columns={
        "change of recall": "change of recall, points", "p": "p after Holm", "label_agreement": "label agreement, %",
        "coverage": "coverage, %", "coverage_perfect": "coverage of a perfect generator, %"})


def studies(named):
    """A row for each of {label: Study}."""
    return pd.DataFrame([{
        "study": label, "classifier": s.classifier, "real, %": s.arm(REAL).accuracy.bare,
        "real + synthetic, %": s.arm(MIXED).accuracy.bare, "gain at equal steps, points": s.gain.bare,
        "gain at equal epochs, points": s.paper_gain.bare if s.paper_gain else "",
        "gain at own optimum, points": s.optimum_gain.bare if s.optimum_gain else "",
        "replicates": f"{s.replicates}" if s.replicates else "", "generators": f"{s.generators}", "seeds": f"{s.seeds}"}
        for label, s in named.items()])


# ---------------------------------------------------------------- dose
def exchange(dose):
    """How many real images alone each number of synthetic ones alone is worth."""
    return pd.DataFrame([{
        "synthetic images alone": f"{e.synthetic:,}", "test accuracy, %": e.accuracy.bare,
        "as good as so many real ones": dose.worth(e),
        "synthetic for a real one": e.per_real.bare if e.per_real else ""} for e in dose.exchange])


# ---------------------------------------------------------------- ablation
VARIED = ("dataset", "canvas", "size", "schedule", "target", "loss_weight", "channels", "channel_mult", "grad_clip",
          "T", "steps", "data_seed", "seed")


def varied(configs):
    """The parameters of a training that are not the same in all `configs`, or schedule."""
    return [k for k in VARIED if len({str(c[k]) for c in configs}) > 1] or ["schedule"]


def trained(named):
    """A row for each of {label: (config, Training)}: what sets it apart, what it cost, what it reached."""
    names = varied([config for config, _ in named.values()])
    return pd.DataFrame([{"run": label} | {k: str(config[k]).strip("[]") for k in names} | {
        "bits/dim": t.bits.bare, "million weights": number(t.parameters / 1e6, 2), "images seen": f"{t.images:,}",
        "final loss": number(t.loss, 4), "training time, s": number(t.seconds, 0)}
        for label, (config, t) in named.items()])


def generated(named):
    """A row for each of {label: (config, Generation)}: how it was sampled, and how good the images are."""
    return pd.DataFrame([{
        "run": label, "network": config["train_run"].split("/")[-1], "sampler": config["sampler"],
        "steps": f"{config['sample_steps']}", "guidance": f"{config['guidance']:g}", "x0": config["x0_handling"],
        "values out of range, %": number(g.outside_range), "pixel sd / real": number(g.pixel_spread, 2),
        "label agreement, %": g.label_agreement.bare, "worst class, %": number(g.by_class["label_agreement"].min()),
        "Fréchet distance (real to real)": f"{number(g.frechet.value, 2)} ({number(g.reference.value, 2)})",
        "coverage, % (perfect)": f"{number(g.coverage)} ({number(g.coverage_perfect)})", "n": f"{g.images:,}"}
        for label, (config, g) in named.items()])


def walks(ablation):
    """The same sampling without and with a limit on the estimated image, a row for each network."""
    return pd.DataFrame([{
        "schedule": w.schedule, "target": w.target, "walk": f"{w.sampler}, {w.steps} steps",
        "agreement without limit, %": w.free.bare, "clipped, %": w.clipped.bare,
        "lost without limit, points": w.lost.bare, "pixel sd / real without limit": number(w.free_spread, 2),
        "clipped": number(w.clipped_spread, 2), "n": f"{w.lost.n:,}"} for w in ablation.walks])

# ---------------------------------------------------------------- report
def trainings(families):
    """The trainings of a report: bits per dimension first, then what made it. families: {name: its replicates
    (gathered.Step), or one}; of replicates the mean."""
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
    from lib.study.statistics import t_estimate

    values = [e.value for e in estimates]
    n, error = len(values), stdev(values) / len(values)**0.5
    return t_estimate(fmean(values), [error**2], [n - 1], n, "networks", "bits/dim")


def worth(dose):
    """Three rows of `exchange`, of those numbers of synthetic images whose worth could be read off."""
    known = [k for k, e in enumerate(dose.exchange) if e.real]
    return exchange(dose).iloc[sorted({known[k] for k in (0, len(known) // 2, -1)})] if known else pd.DataFrame()


def claims(answers, figures=()):
    """The original paper's claims: claim, verdict, evidence, with links to the `figures` (names) that the page has."""
    return pd.DataFrame([{
        "the original paper says": f"{escape(x.claim)} ({escape(x.where)})", "verdict": x.verdict,
        "evidence": escape(x.evidence) + (f' <a href="#fig-{x.figure}">figure</a>' if x.figure in figures else "")}
        for x in answers])


# ---- as data: the CSV files below the article's figures
def all_gains(studies):
    """For each study (gathered.Step) and arm that is compared: gain, low, high, p."""
    found = [(s, arm.arm, arm.gain) for s in studies for arm in s.result.arms if arm.gain]
    found += [(s, "the original paper's comparison", s.result.paper_gain) for s in studies if s.result.paper_gain]
    return pd.DataFrame([{"study": s.label, "arm": arm, "gain": e.value, "low": e.low, "high": e.high, "p": e.p}
                         for s, arm, e in found], columns=["study", "arm", "gain", "low", "high", "p"])


MEASURES = ("recognised, %", "distance to real", "covered, %", "near a training image, %")


def measures(steps):
    """{measure: (Estimates, what real images reach)} of a generation and its replicates (gathered.Step)."""
    rows = [((g.label_agreement, g.judge_accuracy.value), (g.frechet, g.reference.value),
             (Estimate(g.coverage), g.coverage_perfect), (Estimate(g.memorisation.share), g.memorisation.expected))
            for g in (step.result for step in steps)]
    return {measure: ([estimate for estimate, _ in column], fmean(reference for _, reference in column))
            for measure, column in zip(MEASURES, zip(*rows, strict=True), strict=True)}


def quality(generations):
    """For each generator (gathered.Step) and measure: value, low, high, and what real images reach."""
    return pd.DataFrame([{"generator": step.label, "measure": measure, "value": e.value, "low": e.low, "high": e.high,
                          "reference": reference}
                         for step in generations for measure, ((e,), reference) in measures([step]).items()],
                        columns=["generator", "measure", "value", "low", "high", "reference"])


def provenance(steps):
    """For each run (gathered.Step): commit, start, seconds, device, threads."""
    kept = ("commit", "uncommitted_changes", "start", "seconds", "device", "threads")
    rows = [{"run": step.name} | {k: step.run.provenance[k] for k in kept} | {"seconds": step.seconds}
            for step in steps if step.run]
    return pd.DataFrame(rows, columns=["run", *kept])
