"""The captions of the article's figures: the finding first, then how to read the figure.

Each is called as its figure; gathered: a `Gathered`; made, studied, dosed: its steps.
"""
from lib.report.article.sentences import GROUPS, clear_changes, copies, counted, listed, mean, repeated, things
from lib.report.results import Training, number
from lib.report.sentences import of_planned
from lib.report.tables import bits
from lib.report.text import escape


def front(step):
    what, made = things(step), step.generation.config
    return (f"**Real and synthetic {what}, as a classifier gets them.** Above, one image on its way out of noise; "
            f"below, real images of the training set and synthetic ones of the same classes ({made['sampler']} "
            f"sampler, {counted(made['sample_steps'], 'call')} of the network an image).")


def forest(gathered):
    gains = [step.result.gain for step in gathered.studies]
    counts = {"raise": sum(g.above_zero for g in gains), "lower": sum(g.below_zero for g in gains)}
    clear = [f"{verb} it in {count}" for verb, count in counts.items() if count] or ["change it in none"]
    finding = (f"At equal updates synthetic images clearly {listed(clear).replace('it', 'the accuracy', 1)} of "
               f"{len(gains)} studies"
               if len(gains) > 1 else f"Synthetic images: {gains[0]}")
    return (f"**{finding}.** Lines are 95 % intervals; a marker is filled where the interval leaves out 0. At the "
            "right, the test accuracy without and with synthetic images at the same number of updates. What an "
            f"interval covers: {repeated(gathered.study.result)}. Where nothing else is said, the images are "
            f"{escape(gathered.study.data)}.")


def diagram(study):
    first = " of each of the first two repetitions" * (study.replicates > 1)
    return (f"**{counted(len(study.arms), 'arm')}, one test.** A bar shows what a batch is made of: real images "
            "(grey), synthetic ones (green). Lengths and learning rates are chosen on "
            f"{study.validation_images:,} validation images{first}; the test is opened once for each arm"
            + (f", and once more for each of {len(study.optimum)} that are trained as long as is best."
               if study.optimum else "."))


def bridge(study):
    paper, steps = study.paper_gain, study.steps_gain
    finding = (f"{100 * steps.value / paper.value:.0f} % of the original paper's gain comes from more updates"
               if steps.above_zero and paper.above_zero and steps.value <= paper.value else
               f"More updates alone add {steps}" if steps.clear else "More updates alone make no clear difference")
    return (f"**{finding}.** Short lines are test accuracies, on an axis that does not begin at 0; an arrow is what "
            "the next one adds: first updates, then images.")


def gains(study):
    better = [arm for arm in GROUPS["controls", "control"] if (r := study.arm(arm)) and r.gain.above_zero]
    here = [arm for arm in GROUPS["controls", "control"] if study.arm(arm)]
    finding = (f"{listed([f'*{arm}*' for arm in better])} raises the accuracy without new images" if better else
               "No control clearly raises the accuracy" if here else f"The images add {study.gain}")
    return (f"**{finding}.** Each arm against the real images alone, with 95 % intervals; a marker is filled where the "
            "interval leaves out 0."
            + (" A small dot below is one repetition of the experiment." if study.replicates else ""))


def confusion(study):
    before, after = (study.confusion.loc[arm] for arm in ("real", "real + synthetic"))
    wrong = (after - before).to_numpy(float, copy=True)
    for k in range(len(wrong)):
        wrong[k, k] = 0
    i, j = divmod(int(wrong.argmin()), len(wrong))
    rows, columns = [escape(c) for c in before.index], [escape(c) for c in before.columns]
    finding = ("No class's recall changes clearly" if not len(clear_changes(study.by_class)) else
               "No mistake becomes clearly rarer" if wrong[i, j] >= -0.5 else
               f"{rows[i]} taken for {columns[j]} falls most: from {before.iloc[i, j]:.0f} % to "
               f"{after.iloc[i, j]:.0f} % of class {rows[i]}")
    return (f"**{finding}.** Each row is a true class, each column what the {study.classifier} says, in percent of "
            "the row; numbers below 10 are left out.")


def slopes(study):
    change = study.by_class["change of recall"]
    rising, falling = int((change > 0).sum()), int((change < 0).sum())
    most, count, how = change.idxmax(), rising, "more"
    if falling > rising:
        most, count, how = change.idxmin(), falling, "less"
    words = (f"{count} of {len(change)} classes are found {how} often, {escape(str(most))} most "
             f"({number(change[most], signed=True)} points)" if count else "No class is found more or less often")
    finding = f"**{words}.**" if len(clear_changes(study.by_class)) else f"**No class changes clearly.** {words}."
    return f"{finding} Recall: the share of a class's test images that are called so. Dashed lines fall."


def quality(gathered):
    name, made = gathered.main
    made = [step.result for step in made]
    each = "; a small dot is one of its replicates, the large one their mean" if len(made) > 1 else ""
    return (f"**{escape(name)}: {mean(g.label_agreement.value for g in made)} % of its images are recognised (of new "
            f"real ones {mean(g.judge_accuracy.value for g in made)} %), and they cover "
            f"{mean(g.coverage for g in made)} % of the real ones (other real images "
            f"{mean(g.coverage_perfect for g in made)} %).** A row for each generator{each}; the grey line is what "
            "real images reach.")


def neighbours(made):
    said = copies([made.result.memorisation])
    return (f"**{said[0].upper() + said[1:]}.** The ten synthetic images closest to a training image: that image "
            "above, the nearest test image, which the generator never saw, below.")


def exchange(dosed):
    dose = dosed.result
    read = [e for e in dose.exchange if e.real]
    finding = (f"{read[-1].synthetic:,} synthetic images alone are as good as {read[-1].real.bare} real ones"
               if read else
               "No number of synthetic images alone is as good as a tried number of real ones" if not dose.exchange else
               f"{dose.exchange[0].synthetic:,} synthetic images alone beat all real ones that were tried")
    return (f"**{finding}.** An arrow starts at a number of synthetic images and goes to the number of real ones with "
            f"the same accuracy. {dose.classifier}, {dose.steps:,} updates at every point; bands are 95 % intervals "
            f"over {of_planned(dose) + ' replicates' if dose.replicates else counted(dose.seeds, 'seed')}.")


def training(gathered):
    families = gathered.families(Training)
    main = gathered.study.training if gathered.study else gathered.trainings[0]
    name, steps = next((name, steps) for name, steps in families.items() if main in steps)
    of = f" by {escape(name)}" * (len(families) > 1)
    return (f"**A new image takes at most {bits([step.result.bits for step in steps])}{of}.** That is bits for each "
            "value of a pixel, by the variational bound. Left, the training loss (1 is a network that always answers "
            "0; losses of different schedules and targets don't compare); right, where along the way from the image "
            "to noise the error is.")


def limit(ablation):
    suspect = next(w for w in ablation.walks if (w.schedule, w.target) == ("cosine", "eps"))
    return (f"**With a limit, cosine's label agreement goes from {suspect.free.number(suspect.free.value)} % to "
            f"{suspect.clipped.number(suspect.clipped.value)} %.** A row for each schedule and for what the network "
            "predicts; hollow: no limit on the estimated image, filled: clipped to the range of images. Lines are "
            f"Wilson's 95 % intervals over {suspect.free.n:,} images of one network.")


def limited(step):
    return (f"**The same network ({escape(step.label)}) from the same noise, without and with the limit.** The first "
            "row is real; the last is clipped.")
