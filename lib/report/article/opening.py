"""The article's opening in words: title, byline, three numbers, abstract."""
from lib.report.article.sentences import (
    FREE,
    a,
    at_optimum,
    best_length,
    clearly,
    copies,
    counted,
    explained,
    extremes,
    listed,
    longest,
    mean,
    things,
)
from lib.report.results import number
from lib.report.text import escape


def title(gathered):
    """The finding in one line: do they help, whom, and does something free help more? Without a study what the limit on
    estimated images does, else the plan's title."""
    if not gathered.study:
        limited = gathered.limited
        return LIMIT_TITLES[limited.result.limit] if limited else escape(gathered.title or "Report")
    main, alike = gathered.study.result, {}
    for step in gathered.studies:
        if step.data == gathered.study.data:
            alike.setdefault(a(step.result.classifier), step.result)
    whom = {}
    for classifier, study in alike.items():
        whom.setdefault(effect(study.gain), []).append(classifier + (another_answer(study) or untried(study, main)))
    *first, last = [f"{does} {listed(shorter(who), 'or' if does == UNCLEAR else 'and')}" for does, who in whom.items()]
    rival = rival_clause(main, len(alike) > 1)
    return f"Synthetic {things(gathered.study)} {', '.join(first)}{', but ' * bool(first)}{last}{rival}"


def another_answer(study):
    """' (...)': what the images do where each arm is trained as long as is best for it, if that is another answer."""
    best = study.optimum_gain
    if not best or effect(best) == effect(study.gain):
        return ""
    return f" ({effect(best) if best.clear else 'no clear difference'} {at_length(study)})"


def untried(study, main):
    """' (...)' where the main study has another answer at its best length, and this one has but one length."""
    return " (tried at one length)" if another_answer(main) and not study.optimum else ""


def at_length(study):
    """'when trained longest', where that is best for each arm."""
    return "when trained longest" if len(longest(study)) == len(study.optimum) else "at the best length of training"


def shorter(classifiers):
    """'MLPs' in place of 'an MLP' and 'a strong MLP'."""
    both = {"an MLP", "a strong MLP"}
    return ["MLPs", *(c for c in classifiers if c not in both)] if both <= set(classifiers) else classifiers


UNCLEAR = "make no clear difference to"


def effect(gain):
    return "help" if gain.above_zero else "hurt" if gain.below_zero else UNCLEAR


def rival_clause(study, several):
    """'; shifting real ones helps more', '; ... helps', or nothing; of several classifiers it names the study's."""
    arm = study.arm(study.rival)
    if not arm or not arm.gain.above_zero:
        return ""
    more = study.gain.above_zero and arm.gain.low > study.gain.high
    whom = f" the {study.classifier}" * several
    return f"; {FREE[study.rival]} helps{whom}{' more' if more else ' too' if study.gain.above_zero else ''}"


LIMIT_TITLES = {
    "survives": "The cosine schedule fails without a limit on each estimated image, and works with one",
    "does not survive": "A missing limit on the estimated image does not explain why cosine images are poor",
    "undecided": "Whether a missing limit on the estimated image makes cosine images poor stays open"}


def byline(gathered):
    """Plan, commit, date, the ways to all else."""
    parts = ["After the course project P4 “Dreaming Data” (authors unknown)", f"plan {escape(gathered.plan)}",
             f"commit {gathered.made['commit']}", gathered.made["start"][:10],
             "[PDF](report.pdf)", "[notebooks](runs)", "[data](data)"]
    return f"*{' · '.join(parts)}*"


def numbers(gathered):
    """Up to three numbers that answer: do they help, is it the images, is there a cheaper way?"""
    if not gathered.study:
        return limit_numbers(gathered.limited.result) if gathered.limited else ""
    study = gathered.study.result
    real, mixed = (study.arm(arm).accuracy for arm in ("real", "real + synthetic"))
    at = f" at {study.arm('real').steps:,} updates" * bool(another_answer(study))
    found = [(study.gain, f"*Do they help?* {YES_NO[effect(study.gain)]}{at}: {explained(study.classifier)} gets "
                          f"{mixed.number(mixed.value)} % of the test images right instead of "
                          f"{real.number(real.value)} %", at_best(study, "real + synthetic"))]
    if study.paper_gain and study.steps_gain:
        found.append((study.steps_gain, f"*Is it the images?* {is_it_the_images(study)}", ""))
    if rival := study.arm(study.rival):
        found.append((rival.gain, f"*Is there a cheaper way?* {YES_NO[effect(rival.gain)]}: {FREE[study.rival]} at "
                                  "random instead, which needs no generator", at_best(study, study.rival)))
    return big(found)


def at_best(study, arm):
    """'; when trained longest, 0.0 points (−0.7 to +0.8)'; '' where the arm's own optimum was not asked."""
    best = at_optimum(study, arm)
    return f"; {at_length(study)}, {best.gain}" if best else ""


def big(found):
    """found: [(Estimate in points, words before its interval, words behind)]"""
    return "\n".join(f"- **{e.number(e.value)} points** {words} ({'' if k else '95 % interval '}{e.interval}){behind}."
                     for k, (e, words, behind) in enumerate(found))


YES_NO = {"help": "Yes", "hurt": "No, they hurt", UNCLEAR: "Not clearly"}


def is_it_the_images(study):
    """What longer training alone does to the original paper's comparison."""
    shown = f"the {study.paper_gain.number(study.paper_gain.value)} points that the original paper's comparison shows"
    if not study.paper_gain.above_zero:
        return (f"This is what longer training on the real images adds{', not clearly' * (not study.steps_gain.clear)};"
                " the original paper's comparison shows no clear gain here")
    if study.steps_gain.above_zero:
        answer = "Only in part" if study.gain.above_zero else "No"
        return f"{answer}: of {shown}, this much comes from longer training on the real images, not from new ones"
    if study.gain.above_zero:
        return f"Yes: to {shown}, longer training on the real images does not clearly add"
    return f"Not clearly: {shown} come neither from images nor from longer training"


def limit_numbers(ablation):
    """What a limit on the estimated images adds to each schedule's label agreement, cosine first."""
    walks = sorted((w for w in ablation.walks if w.target == "eps"), key=lambda w: w.schedule != "cosine")
    return big([(w.lost, f"*{w.schedule.capitalize()} schedule.* With a limit {number(w.clipped.value)} % of the "
                         f"images are recognised as what they should show, without it {number(w.free.value)} %", "")
                for w in walks[:3]])


def abstract(gathered):
    """At most five sentences."""
    if not gathered.study:
        return " ".join(escape(about) for about in [gathered.about] if about)
    step = gathered.study
    study = step.result
    real, mixed = study.arm("real").accuracy, study.arm("real + synthetic").accuracy
    told = [f"A diffusion model learned from {study.real_images:,} real images ({escape(step.data)}); when "
            f"{study.synthetic_images:,} of its images are added, the test accuracy of {a(study.classifier)} "
            f"{moved(study.gain)} from {real.number(real.value)} % to {mixed.number(mixed.value)} %: {study.gain} "
            f"where each arm makes {study.arm('real').steps:,} updates"
            + (f", and {study.optimum_gain} where each is trained {best_length(study)}."
               if study.optimum_gain else ".")]
    if study.paper_gain and study.steps_gain:
        told.append("Compared as the original paper did, where the real images alone get fewer updates, the same "
                    f"images make a difference of {clearly(study.paper_gain)}; the additional updates alone make one "
                    f"of {clearly(study.steps_gain)}.")
    if rival := study.arm(study.rival):
        both = study.arm("real + shift + synthetic")
        told.append(f"The best free augmentation, {FREE[study.rival]}, makes {clearly(rival.gain)}"
                    + (f"; both together make {both.gain}." if both and study.rival == "real + shift" else "."))
    if others := gathered.studies[1:]:
        told.append("In the other studies of this plan the images make, in points: "
                    + "; ".join(f"{escape(gathered.names[s])} {s.result.gain.bare}{untried(s.result, study)}"
                                for s in others) + ".")
    judged = [made.result for made in gathered.main[1]]
    told.append(f"A judge that is right on {mean(g.judge_accuracy.value for g in judged)} % of real images "
                f"recognises {mean(g.label_agreement.value for g in judged)} % of the synthetic ones as what they "
                f"should show, {extremes(judged)}, and {copies([g.memorisation for g in judged])}.")
    return " ".join(told)


def quoted(paragraph):
    """As a Markdown quotation: so the page knows the abstract."""
    return f"> {paragraph}" if paragraph else ""


def moved(gain):
    return "rises" if gain.above_zero else "falls" if gain.below_zero else "goes, not clearly,"


def missing(gathered):
    """Which runs the report had to do without, or nothing."""
    if not gathered.missing:
        return ""
    names = [f"`{'/'.join(folder.split('/')[-2:])}`" for folder in gathered.missing]
    is_it, they = ("is", "it") if len(names) == 1 else ("are", "they")
    return (f"**{counted(len(names), 'run')} of this plan {is_it} missing**, and so is what {they} would tell: "
            f"{listed(names)}.")
