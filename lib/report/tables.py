"""A result's numbers as the tables that one reads: pure functions, result -> DataFrame of text."""
import pandas as pd

from lib.report.results import Estimate, number
from lib.report.text import escape

# ---------------------------------------------------------------- schedules

# ---------------------------------------------------------------- training

# ---------------------------------------------------------------- generation

# ---------------------------------------------------------------- study

# ---------------------------------------------------------------- dose

# ---------------------------------------------------------------- ablation

# ---------------------------------------------------------------- report
def trainings(steps):
    """Every training of a report (story.Step): bits per dimension first, then what made it."""
    return pd.DataFrame([{
        "network": escape(step.label), "bits/dim": step.result.bits.bare, "schedule": step.config["schedule"],
        "learns": step.config["target"], "weights, million": number(step.result.parameters / 1e6, 2),
        "images seen": f"{step.result.images:,}", "passes": number(step.result.epochs, 0)} for step in steps])


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
def gains(studies):
    """For each study (story.Step) and arm that is compared: gain, low, high, p."""
    found = [(s, arm.arm, arm.gain) for s in studies for arm in s.result.arms if arm.gain]
    found += [(s, "the original paper's comparison", s.result.paper_gain) for s in studies if s.result.paper_gain]
    return pd.DataFrame([{"study": s.label, "arm": arm, "gain": e.value, "low": e.low, "high": e.high, "p": e.p}
                         for s, arm, e in found], columns=["study", "arm", "gain", "low", "high", "p"])


MEASURES = ("recognised, %", "distance to real", "covered, %", "near a training image, %")


def measures(made):
    """{measure: (Estimate, what real images reach)} of a Generation."""
    return dict(zip(MEASURES, (
        (made.label_agreement, made.judge_accuracy.value), (made.frechet, made.reference.value),
        (Estimate(made.coverage), made.coverage_perfect),
        (Estimate(made.memorisation.share), made.memorisation.expected)), strict=True))


def quality(generations):
    """For each generator (story.Step) and measure: value, low, high, and what real images reach."""
    return pd.DataFrame([{"generator": step.label, "measure": measure, "value": e.value, "low": e.low, "high": e.high,
                          "reference": reference}
                         for step in generations for measure, (e, reference) in measures(step.result).items()],
                        columns=["generator", "measure", "value", "low", "high", "reference"])


def provenance(steps):
    """For each run: commit, start, seconds, device, threads."""
    kept = ("commit", "uncommitted_changes", "start", "seconds", "device", "threads")
    return pd.DataFrame([{"run": step.name} | {k: step.run.provenance[k] for k in kept} for step in steps if step.run],
                        columns=["run", *kept])
