"""A result in sentences: pure functions, result -> Markdown."""
from lib.report.results import number
from lib.report.text import escape

# ---------------------------------------------------------------- schedules

# ---------------------------------------------------------------- training

# ---------------------------------------------------------------- generation

# ---------------------------------------------------------------- study

# ---------------------------------------------------------------- dose

# ---------------------------------------------------------------- ablation

# ---------------------------------------------------------------- report
# gathered: a story.Gathered; made, studied, dosed: its steps (story.Step)
FREE = {"real + flip": "mirroring real ones", "real + shift": "shifting real ones",
        "real + flip and shift": "mirroring and shifting real ones"}
ARM_LINES = {
    "real": "what all are compared with",
    "real, equal epochs": "original paper: less trained",
    "real twice": "control: each image twice",
    "real + noise": "control: copies with noise",
    "real + retrieval": "control: nearest real images",
    "shuffled labels": "control: labels of others",
    "real + flip": "free: mirrored by chance",
    "real + shift": "free: shifted by chance",
    "real + flip and shift": "free: both",
    "real + synthetic": "the question",
    "real + best synthetic": "what the judge is surest of",
    "real + random synthetic": "as many, drawn by chance",
    "real + shift + synthetic": "shifted, and synthetic ones",
    "synthetic only": "no real image",
}
GROUPS = {
    ("controls", "control"): ("real twice", "real + noise", "real + retrieval"),
    ("free augmentation", "rival"): tuple(FREE),
    ("synthetic images", "synthetic"): ("real + synthetic", "real + best synthetic", "real + random synthetic",
                                        "real + shift + synthetic", "synthetic only"),
}
APART = ("shuffled labels",)
KINDS = {"rival": "free augmentation of the real images", "synthetic": "synthetic images, equal updates",
         "paper": "synthetic images, the original paper's comparison"}
ORIGINAL = "*Dreaming Data*, a student's report (course project P4, authors unknown)"


def listed(words, last="and"):
    """'a, b and c'"""
    return f" {last} ".join(filter(None, [", ".join(words[:-1]), words[-1]])) if words else ""


def counted(number, noun):
    """'1 generator', '1,204 images'"""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def a(classifier):
    return f"an {classifier}" if classifier.startswith("MLP") else f"a {classifier}"


def things(step):
    """What the images of a step show, in one word."""
    return "digits" if step.training.config["dataset"] == "digits" else "images"


def figure(name):
    """A link to a figure; the page writes its number."""
    return f"[figure](#fig-{name})"


def no_effect(estimate):
    return "no clear effect" if not estimate.clear else ""


# ---- the front
def title(gathered):
    """The finding in one line: do they help, whom, and does something free help more? The plan's title without a
    study."""
    if not gathered.study:
        return escape(gathered.title or "Report")
    main, what = gathered.study.result, f"synthetic {things(gathered.study)}"
    alike = {}
    for step in gathered.studies:
        if step.data == gathered.study.data:
            alike.setdefault(a(step.result.classifier), step.result.gain)
    helped = [classifier for classifier, gain in alike.items() if gain.above_zero]
    unclear = [classifier for classifier, gain in alike.items() if not gain.above_zero]
    if main.gain.below_zero:
        return f"{what.capitalize()} harm {a(main.classifier)}{rival_clause(main)}"
    if not main.gain.above_zero:
        also = f", but help {listed(helped)}" if helped else ""
        return f"No clear effect of {what} on {a(main.classifier)}{also}{rival_clause(main)}"
    return f"{what.capitalize()} help {listed(helped)}{', not clearly ' * bool(unclear)}{listed(unclear, 'or')}" + (
        rival_clause(main))


def rival_clause(study):
    """'; shifting real ones helps more', '; ... helps', or nothing."""
    arm = study.arm(study.rival)
    if not arm or not arm.gain.above_zero:
        return ""
    more = study.gain.above_zero and arm.gain.low > study.gain.high
    return f"; {FREE[study.rival]} helps{' more' if more else ' too' if study.gain.above_zero else ''}"


def byline(gathered):
    """Plan, commit, date, the ways to all else."""
    parts = ["After the course project P4 “Dreaming Data” (authors unknown)", f"plan {escape(gathered.plan)}",
             f"commit {gathered.made['commit']}", gathered.made["start"][:10],
             "[PDF](report.pdf)", "[notebooks](runs)", "[data](data)"]
    return f"*{' · '.join(parts)}*"


def numbers(gathered):
    """Up to three numbers that answer: do they help, does something free help more, was it the images?"""
    if not gathered.study:
        return ""
    study, found = gathered.study.result, []
    found.append((study.gain, f"for {a(study.classifier)}, by {study.synthetic_images:,} synthetic images beside "
                              f"{study.real_images:,} real ones, equally long trained"))
    if rival := study.arm(study.rival):
        found.append((rival.gain, f"by {FREE[study.rival]} by chance, which costs nothing"))
    if study.paper_gain and study.steps_gain:
        found.append((study.paper_gain, "as the original paper compared: of it, "
                      f"{study.steps_gain.number(study.steps_gain.value)} comes from longer training, not from images"))
    return "\n".join(f"- **{gain.number(gain.value)} points** {words} (95 % interval {gain.interval})"
                     for gain, words in found)


def abstract(gathered):
    """At most five sentences."""
    if not gathered.study:
        return " ".join(escape(about) for about in [gathered.about] if about)
    step = gathered.study
    study = step.result
    real, mixed = study.arm("real").accuracy, study.arm("real + synthetic").accuracy
    told = [f"A diffusion model learned from {study.real_images:,} real images ({escape(step.data)}); with "
            f"{study.synthetic_images:,} of its images the test accuracy of {a(study.classifier)} "
            f"{moved(study.gain)} from {real.number(real.value)} % to {mixed.number(mixed.value)} %: {study.gain} at "
            "the same number of updates."]
    if rival := study.arm(study.rival):
        both = study.arm("real + shift + synthetic")
        told.append(f"The best free augmentation, {FREE[study.rival]}, gives {rival.gain}"
                    + (f"; both together give {both.gain}." if both and study.rival == "real + shift" else "."))
    if study.paper_gain and study.steps_gain:
        told.append("Compared as the original paper did, where the real images alone get fewer updates, the same "
                    f"images seem to give {study.paper_gain}, of which {study.steps_gain} come from the updates alone.")
    if others := gathered.studies[1:]:
        told.append("The same gain elsewhere: "
                    + "; ".join(f"{escape(gathered.names[s])} {s.result.gain.bare}" for s in others) + ".")
    judged = step.generation.result
    told.append(f"A judge that is right on {judged.judge_accuracy.number(judged.judge_accuracy.value)} % of real "
                f"images recognises {judged.label_agreement.number(judged.label_agreement.value)} % of the synthetic "
                f"ones as what they should show, and {copies(judged.memorisation)}.")
    return " ".join(told)


def quoted(paragraph):
    """As a Markdown quotation: so the page knows the abstract."""
    return f"> {paragraph}" if paragraph else ""


def moved(gain):
    return "rises" if gain.above_zero else "falls" if gain.below_zero else "does not clearly change"


def copies(memorisation):
    """What the comparison with the nearest training images says."""
    return {"copies": f"{counted(memorisation.copies, 'image')} of them are copies of training images",
            "too close": "some lie closer to training images than new real ones do",
            "undecided": "some lie close to real images, seen or not, so copying stays undecided",
            "none found": "no sign of copies was found"}[memorisation.verdict]


def missing(gathered):
    """Which runs the report had to do without, or nothing."""
    if not gathered.missing:
        return ""
    names = [f"`{'/'.join(folder.split('/')[-2:])}`" for folder in gathered.missing]
    return (f"**{counted(len(names), 'run')} of this plan {'is' if len(names) == 1 else 'are'} missing**, and so is "
            f"what they would tell: {listed(names)}.")


# ---- captions: the finding first, then how to read it
def front_caption(step):
    what, made = things(step), step.generation.config
    return (f"**Real and synthetic {what}, as a classifier gets them.** Above, one image on its way out of noise; "
            f"below, real images of the training set and synthetic ones of the same classes ({made['sampler']} "
            f"sampler, {counted(made['sample_steps'], 'call')} of the network an image).")


def forest_caption(gathered):
    clear = sum(s.result.gain.clear for s in gathered.studies)
    n = len(gathered.studies)
    finding = (f"Synthetic images change the accuracy clearly in {clear} of {n} studies" if n > 1 else
               f"Synthetic images: {gathered.study.result.gain}")
    return (f"**{finding}.** Lines are 95 % intervals; a marker is filled where the interval leaves out 0. At the "
            "right, the test accuracy without and with synthetic images at the same number of updates. What an "
            f"interval covers: {repeated(gathered.study.result)}. Where nothing else is said, the images are "
            f"{escape(gathered.study.data)}.")


def repeated(study):
    return (f"{counted(study.seeds, 'seed')} of the classifier, {counted(study.generators, 'generator')} and "
            f"{study.test_images:,} test images")


def diagram_caption(study):
    return (f"**{counted(len(study.arms), 'arm')}, one test.** A bar shows what a batch is made of: real images "
            "(grey), synthetic ones (green). Choices are made on "
            f"{study.validation_images:,} validation images; the test is opened once for each arm.")


def bridge_caption(study):
    share = study.steps_gain.value / study.paper_gain.value if study.paper_gain.value > 0 else 0
    finding = (f"{100 * share:.0f} % of the original paper's gain comes from more updates" if 0 < share <= 1 else
               "The original paper's gain is not made by more updates")
    return (f"**{finding}.** From the real images alone with as many passes over the data as the larger set gets, to "
            f"the number of updates of all other arms: {study.steps_gain}; from there to synthetic images in half of "
            f"each batch: {study.gain}.")


def gains_caption(study):
    better = [arm for arm in GROUPS["controls", "control"] if (r := study.arm(arm)) and r.gain.above_zero]
    here = [arm for arm in GROUPS["controls", "control"] if study.arm(arm)]
    finding = (f"{listed([f'*{arm}*' for arm in better])} raises the accuracy without new images" if better else
               "No control clearly raises the accuracy" if here else f"The images give {study.gain}")
    return (f"**{finding}.** Each arm against the real images alone, 95 % interval, filled where it leaves out 0. A "
            f"difference of {study.detectable:.1f} points would be found four times in five.")


def confusion_caption(study):
    before, after = (study.confusion.loc[arm] for arm in ("real", "real + synthetic"))
    wrong = (after - before).to_numpy(float, copy=True)
    for k in range(len(wrong)):
        wrong[k, k] = 0
    i, j = divmod(int(wrong.argmin()), len(wrong))
    rows, columns = [escape(c) for c in before.index], [escape(c) for c in before.columns]
    finding = (f"{rows[i]} taken for {columns[j]} falls most: from {before.iloc[i, j]:.0f} % to "
               f"{after.iloc[i, j]:.0f} % of class {rows[i]}" if wrong[i, j] < -0.5 else
               "No mistake becomes clearly rarer")
    return (f"**{finding}.** Each row is a true class, each column what the {study.classifier} says, in percent of "
            "the row; numbers below 10 are left out.")


def slopes_caption(study):
    change = study.by_class["change of recall"]
    rising, best = int((change > 0).sum()), change.idxmax()
    words = (f"{rising} of {len(change)} classes are found more often, {escape(best)} most (by {change.max():.0f} "
             "points)"
             if change.max() > 0 else "No class is found more often")
    return f"**{words}.** Recall: the share of a class's test images that are called so. Dashed lines fall."


def quality_caption(gathered):
    step = (gathered.study or gathered.generations[0]).generation
    made = step.result
    return (f"**{escape(step.label)}: {number(made.label_agreement.value)} % of its images are recognised, and they "
            f"cover {number(made.coverage)} % of the real ones, of {number(made.coverage_perfect)} % that perfect "
            "images would cover.** A row for each generator; the grey line is what real images reach. *Recognised*: "
            "the judge, a classifier trained on real images, sees the class that was asked for. *Distance*: "
            "Fréchet's, in features of a network of this project; between real images it is not 0 at this number of "
            "images. *Covered*: real test images that a synthetic one comes near to. *Near a training image*: as near "
            "as 1 of 100 new real images is.")


def neighbours_caption(made):
    said = copies(made.result.memorisation)
    return (f"**{said[0].upper() + said[1:]}.** The ten synthetic images closest to a training image: that image "
            "above, the nearest test image, which the generator never saw, below.")


def exchange_caption(dosed):
    dose = dosed.result
    read = [e for e in dose.exchange if e.real]
    finding = (f"{read[-1].synthetic:,} synthetic images alone are worth {read[-1].real.value:,.0f} real ones"
               if read else
               "No number of synthetic images alone is as good as a tried number of real ones" if not dose.exchange else
               f"{dose.exchange[0].synthetic:,} synthetic images alone beat all real ones that were tried")
    return (f"**{finding}.** An arrow starts at a number of synthetic images and goes to the number of real ones with "
            f"the same accuracy. {dose.classifier}, {dose.steps:,} updates at every point; bands are 95 % intervals "
            f"over {counted(dose.seeds, 'seed')}.")


def training_caption(gathered):
    lowest = min(gathered.trainings, key=lambda trained: trained.result.bits.value)
    return (f"**{escape(lowest.label)} needs the fewest bits for a new image: {lowest.result.bits}.** Left, the "
            "training loss (1 is a network that always answers 0; losses of different schedules and targets don't "
            "compare); right, where along the way from the image to noise the error is.")


# ---- the sections' text
def compared(gathered):
    about = [escape(gathered.about)] if gathered.about else []
    return "\n\n".join([
        f"The original paper, {ORIGINAL}, trained a diffusion model on CIFAR-10, added 5,000 synthetic images to each "
        "class, and saw a small classifier (a multilayer perceptron, MLP) rise from 44 % to 46.47 %, one run each. "
        "With more images and as many passes over them, its classifier also made more *updates*, the steps of its "
        "optimiser. Here every arm makes the same number of updates with batches of the same size, from the same "
        "first weights; only the original paper's baseline makes fewer.", *about])


def limits(gathered):
    """What the results do not show, and which results would change the conclusion."""
    step, told = gathered.study, []
    if step:
        study = step.result
        told += [f"Intervals speak of {repeated(study)}"
                 + (", not of another generator." if study.generators == 1 else "."),
                 f"A gain below {study.detectable:.1f} points may well stay unseen.",
                 f"What holds for {escape(step.data)} need not hold for larger images."]
    if gathered.doses:
        told.append("The generator has seen all real images, also those that a classifier goes without: the worth of a "
                    "synthetic image is that of images which exist already.")
    if gathered.generations:
        told.append("Distances and coverage are measured by a network of this project and compare with no published "
                    "number.")
    if step:
        gain = step.result.gain
        change = (f"an interval of the gain that includes 0 when all is repeated with other seeds; a control that "
                  f"gains as much as the images ({gain.number(gain.value)} points)" if gain.clear else
                  f"an interval of the gain that leaves out 0, with more seeds or generators (here {gain})")
        told.append(f"What would change our mind: {change}; copies of training images among the synthetic ones.")
    return "\n".join(f"- {sentence}" for sentence in told)


def provenance(gathered):
    """One sentence on where and with what the numbers were made; the table of runs is a file."""
    own = gathered.made
    versions = listed([f"{k} {v}" for k, v in own["versions"].items()])
    seconds = sum(step.run.provenance["seconds"] for step in gathered.steps if step.run)
    return (f"The {counted(len(gathered.steps), 'run')} took {seconds / 60:,.0f} minutes on {own['device']} with "
            f"{counted(own['threads'], 'thread')}, at commit {own['commit']}"
            + (" with changes that were not committed" if own["uncommitted_changes"] else "")
            + f", Python {own['python']}, {versions}; the same plan with the same versions, kind of device and number "
            "of threads gives the same numbers ([every run](data/report-default-provenance.csv)).")


REFERENCES = """\
- *Dreaming Data.* Course project P4, a student's report on CIFAR-10; authors and year unknown. The original paper.
- Ho, Jain, Abbeel 2020. [Denoising diffusion probabilistic models](https://arxiv.org/abs/2006.11239).
- Nichol, Dhariwal 2021. [Improved denoising diffusion probabilistic models](https://arxiv.org/abs/2102.09672): cosine.
- Ho, Salimans 2022. [Classifier-free diffusion guidance](https://arxiv.org/abs/2207.12598).
- Naeem and others 2020. [Reliable fidelity and diversity metrics](https://arxiv.org/abs/2002.09797): coverage.
- Heusel and others 2017. [GANs trained by a two time-scale update rule](https://arxiv.org/abs/1706.08500): the Fréchet
  distance."""
