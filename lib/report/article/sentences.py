"""What the article's sections say, and words that all of it shares."""
import re
from statistics import fmean

from lib.data import DATASETS
from lib.report.results import number
from lib.report.sentences import limit, of_planned
from lib.report.text import escape

# gathered: a gathered.Gathered; made, studied, dosed: its steps (gathered.Step)
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
         "optimum": "synthetic images, each arm at its own optimum",
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


NETWORKS = {"MLP": "a fully connected network", "strong MLP": "a fully connected network with normalisation",
            "CNN": "a convolutional network"}


def explained(classifier):
    """'an MLP (a fully connected network)'"""
    return f"{a(classifier)} ({NETWORKS[classifier]})" if classifier in NETWORKS else a(classifier)


def things(step):
    """What the images of a step show, in one word."""
    return "digits" if step.training.config["dataset"] == "digits" else "images"


def mean(values):
    """'95.8'"""
    return number(fmean(values))


def clearly(gain):
    """'+0.6 points (0.0 to +1.1), not clear'"""
    return str(gain) + ", not clear" * (not gain.clear)


def at_optimum(study, arm):
    """The AtOptimum of an arm, or None."""
    return next((a for a in study.optimum if a.arm == arm), None)


def longest(study):
    """The arms that are best on validation images at the most updates of all tried: their optimum may lie beyond."""
    return [arm for arm in study.optimum if arm.edge and arm.steps > study.arm("real").steps]


def best_length(study):
    """'as long as is best for it (3,000 updates, the most tried)'"""
    most = longest(study)
    which = "" if len(most) == len(study.optimum) else f"{len(most)} of {counted(len(study.optimum), 'arm')} "
    return "as long as is best for it" + (f" ({which}{most[0].steps:,} updates, the most tried)" if most else "")


def extremes(generations):
    """'from 32 % (bird) to 92 % (frog)': the classes that are recognised least and most often, of Generations."""
    classes = sum(g.by_class["label_agreement"] for g in generations) / len(generations)
    low, high = (f"{number(classes[k], 0)} % ({escape(str(k))})" for k in (classes.idxmin(), classes.idxmax()))
    return f"from {low} to {high}"


def copies(memorisations):
    """What the comparison with the nearest training images says, of a generator or of its replicates: the worst."""
    words = {"copies": "{} of them are copies of training images",
             "too close": "some lie closer to training images than new real ones do",
             "undecided": "some lie close to real images, seen or not, so copying stays undecided",
             "none found": "no sign of copies was found"}
    verdicts = [m.verdict for m in memorisations]
    worst = next(verdict for verdict in words if verdict in verdicts)
    told = words[worst].format(counted(sum(m.copies for m in memorisations), "image"))
    several = f" with {verdicts.count(worst)} of {len(verdicts)} generators" if len(verdicts) > 1 else ""
    return told + (several if worst != "none found" else "")


def repeated(study):
    if study.replicates:
        return (f"{of_planned(study)} repetitions of the whole experiment (split of the data, generator, noise, "
                f"classifier) and {study.test_images:,} test images in all")
    return (f"{counted(study.seeds, 'seed')} of the classifier, {counted(study.generators, 'generator')} and "
            f"{study.test_images:,} test images")


# ---- the sections' text
def bridge(study):
    """What the original paper compared, and what of it the images make."""
    few, real = (study.arm(arm) for arm in ("real, equal epochs", "real"))
    return (f"The original paper gives the real images alone as many passes as the larger set, so fewer updates: "
            f"{few.steps:,} instead of {real.steps:,}. Those updates alone make {clearly(study.steps_gain)}. What the "
            f"synthetic images make when every arm has the same number of updates is {study.gain} "
            "([figure](#fig-bridge)).")


def controls(step):
    """What does as well as the images of a study, and what does not."""
    study = step.result
    told = ["Would anything else in their place do as well ([figure](#fig-gains))?"]
    if here := [arm for arm in GROUPS["controls", "control"] if study.arm(arm)]:
        told.append("Controls that add no information of their own: "
                    + ", ".join(f"*{arm}* {study.arm(arm).gain.bare}" for arm in here) + ".")
    if rival := study.arm(study.rival):
        best = at_optimum(study, study.rival)
        told.append(f"The free augmentation that is best on validation images, {FREE[study.rival]}: {rival.gain}"
                    + (f"; where each arm is trained {best_length(study)}, {best.gain}." if best else ".")
                    + (f" There, synthetic images beside them add {clearly(added)}." if (added := step.optimum_added)
                       else ""))
    if (shuffled := study.arm("shuffled labels")) and (only := study.arm("synthetic only")):
        told.append(f"Synthetic images alone give {only.accuracy}; with their labels shuffled {shuffled.accuracy}, "
                    f"where chance gives {number(100 / len(study.by_class), 0)} %.")
    told.append(f"A difference of {number(study.detectable)} points at equal updates would be found four times in "
                "five.")
    return " ".join(told)


def mistakes(gathered):
    """Which classes change clearly, in each study."""
    told = [f"{escape(gathered.names[step])}: {changed_classes(step.result.by_class)}" for step in gathered.studies]
    return ("Whose recall changes clearly (p < 0.05 after Holm's correction), in points? " + ". ".join(told) + "."
            + f" The figures show the {escape(gathered.names[gathered.study])}." * (len(told) > 1))


def changed_classes(by_class):
    """'3 of 10 classes, cat (−4.1), ...', or 'no class'. by_class: of a Study"""
    clear = clear_changes(by_class)
    named = listed([f"{escape(str(k))} ({number(v, signed=True)})" for k, v in clear.items()])
    return f"{len(clear)} of {len(by_class)} classes, {named}" if len(clear) else "no class"


def clear_changes(by_class):
    """The changes of recall that are clear, in points, the largest first. by_class: of a Study"""
    return by_class["change of recall"][by_class["p"] < 0.05].sort_values(ascending=False)


def quality(gathered):
    """What the four measures of the images mean."""
    made, guidance = [step.result for step in gathered.main[1]], gathered.main[1][0].config["guidance"]
    judge = re.sub(", [0-9a-f]{8}$", "", made[0].judge)                                    # without its fingerprint
    judge = re.sub(r"\d{4,}", lambda n: f"{int(n[0]):,}", judge)
    several = ", one for each generator" if len(made) > 1 else ""
    return ("Four measures ([figure](#fig-quality)). *Recognised*: a judge, a classifier trained on real images"
            f"{several} ({judge}; right on {mean(g.judge_accuracy.value for g in made)} % of unseen real ones), "
            f"sees the class that was asked for, {extremes(made)}"
            + (f"; guidance of {guidance:g} makes classes clearer, and images less varied" if guidance > 1 else "")
            + f". *Distance*: Fréchet's, in features of a network of this project; here "
            f"{mean(g.frechet.value for g in made)}, between as many real images "
            f"{number(fmean(g.reference.value for g in made), 2)}. *Covered*: the share of real images that a "
            "synthetic one comes near to. *Near a training image*: the share of synthetic images that lie closer to "
            "one than 99 of 100 new real images do; much more than 1 % would point to copies.")


def worth(dose):
    """How the worth of a synthetic image is read off."""
    return ("A synthetic image is worth a real one where both, alone and in the same number, give the same accuracy. "
            f"In a batch of real and synthetic images the best share of synthetic ones, on validation images, is "
            f"{100 * dose.best_share:.0f} %. Nothing about these curves was fixed before, so they explore and test "
            "nothing.")


def compared(gathered):
    about = [escape(gathered.about)] if gathered.about else []
    return "\n\n".join([
        f"The original paper, {ORIGINAL}, trained a diffusion model on CIFAR-10, added 5,000 synthetic images to each "
        "class, and saw a small classifier (a multilayer perceptron, MLP) rise from 44 % to 46.47 %, one run each. "
        "With more images and as many passes over them, its classifier also made more *updates*, the steps of its "
        "optimiser. Here every *arm*, a way to train the classifier ([figure](#fig-diagram)), makes the same number of "
        "updates with batches of the same size, from the same first weights; only the original paper's baseline "
        "makes fewer.", *about])


def cosine(ablation):
    """What was asked of the cosine schedule, and the answer."""
    return ("The original paper saw worse images with the cosine schedule. Near pure noise the image that a network "
            "estimates is its error divided by a vanishing signal, and the first steps under cosine pass that error "
            "on. If this is the reason, a network that predicts the noise must fail under cosine without a limit on "
            "the estimate and recover with one; under the linear schedule, and where it predicts *v*, which is divided "
            f"by nothing small, no limit must be needed. {limit(ablation)}")


def limits(gathered):
    """What the results do not show, and which results would change the conclusion."""
    step, told = gathered.study, []
    if step:
        study = step.result
        told += [f"Intervals speak of {repeated(study)}"
                 + (", not of another generator." if study.generators == 1 else "."),
                 f"A gain at equal updates below {listed(unseen(gathered))} points may well stay unseen.",
                 *shared(step),
                 *edges(study),
                 *length(gathered),
                 f"What holds for {escape(step.data)} need not hold for larger images."]
    if gathered.doses:
        told.append("The generator has seen all real images, also those that a classifier goes without: the worth of a "
                    "synthetic image is that of images which exist already.")
    if gathered.generations:
        told.append("Distances and coverage come from our own network; no published ones compare.")
    if step:
        gain = step.result.gain
        again = (f"an interval of the gain at {step.result.arm('real').steps:,} updates that includes 0 when all is "
                 "repeated once more; ")
        change = (f"{again}a control that gains as much as the images ({gain.number(gain.value)} points)"
                  if gain.above_zero else f"{again}images of a better generator that do not hurt" if gain.clear else
                  f"an interval of the gain that leaves out 0, with more repetitions (here {gain})")
        told.append(f"What would change our mind: {change}; copies of training images among the synthetic ones.")
    return "\n".join(f"- {sentence}" for sentence in told)


def unseen(gathered):
    """['0.6 (MLP)', '0.8 (CNN)']: the least gain that each study finds four times in five."""
    return [number(s.result.detectable) + f" ({gathered.names[s]})" * (len(gathered.studies) > 1)
            for s in gathered.studies]


def shared(step):
    """What repetitions that draw from one data set have in common."""
    own_test = DATASETS[step.training.config["dataset"]] == "official"
    return ["All repetitions draw from one data set and share images"
            + ("" if own_test else ", and a test image of one may be a training image of another")
            + ": intervals say little about images that are collected anew."] if step.result.replicates else []


def edges(study):
    """Where the arms' best number of updates lies beyond those that were tried."""
    most = longest(study)
    return [f"The best number of updates is the largest tried ({most[0].steps:,}) for {len(most)} of "
            f"{counted(len(study.optimum), 'arm')}: it may lie beyond."] if most else []


def times_seen(step, arm):
    """How often a study's classifier saw each real image in an arm without synthetic ones."""
    return number(arm.steps * step.config["batch"] / step.result.real_images)


def length(gathered):
    """How often each real image was seen, who was trained at one length, what the generators saw mirrored."""
    training = gathered.study.training
    passes = []
    for s in gathered.studies:
        best = at_optimum(s.result, "real")
        about = [gathered.names[s]] * (len(gathered.studies) > 1)
        about += [f"{times_seen(s, best)} at its optimum"] if best else []
        passes.append(times_seen(s, s.result.arm("real")) + (f" ({'; '.join(about)})" if about else ""))
    told = [f"Each real image was seen {number(training.result.epochs)} times by a generator (original paper: 200) and "
            f"{listed(passes)} times by a classifier of the arm *real*: longer training may change both."]
    for s in gathered.studies if gathered.study.result.optimum else ():
        rival = s.result.arm(s.result.rival)
        if not s.result.optimum:
            told.append(f"{gathered.names[s]}: trained at one length only, {s.result.arm('real').steps:,} updates"
                        + (f"; free augmentation, {FREE[s.result.rival]}, makes {clearly(rival.gain)} there." if rival
                           else "."))
    rates = [f"{gathered.names[s]} ({s.config['lrs'][0]:g})" for s in gathered.studies if len(s.config["lrs"]) == 1]
    if rates:
        told.append(f"Trained at one learning rate only: {listed(rates)}.")
    if training.config["flip"]:
        told.append("The generators learned from mirrored images too, the arm *real* did not: what synthetic images "
                    "add holds some mirroring, which is free.")
    return told


def provenance(gathered):
    """One sentence on where and with what the numbers were made; the table of runs is a file."""
    own = gathered.made
    steps = [step for step in gathered.steps if step.run]
    made = sorted((step.run.provenance for step in steps), key=lambda run: run["start"])
    versions = listed([f"{k} {v}" for k, v in own["versions"].items()])
    minutes = sum(step.seconds for step in steps) / 60
    least = "at least " if any(step.run.provenance["seconds"] < step.seconds for step in steps) else ""
    devices, threads, commits, changed = (
        list(dict.fromkeys(run[key] for run in made)) or [own[key]]
        for key in ("device", "threads", "commit", "uncommitted_changes"))
    return (f"The {counted(len(gathered.steps), 'run')} took {least}{minutes:,.0f} minutes on {listed(devices)} with "
            f"{listed(list(map(str, threads)))} thread{'s' * (threads != [1])} a run, at "
            + (f"commit {commits[0]}" if len(commits) == 1 else f"{len(commits)} commits, the last {commits[-1]}")
            + (", some with changes that were not committed" if any(changed) else "")
            + f", Python {own['python']}, {versions}; the same versions, device and threads give the same numbers "
            "([every run](data/report-default-provenance.csv)).")


REFERENCES = """\
- *Dreaming Data.* Course project P4 on CIFAR-10; authors and year unknown. The original paper.
- Ho, Jain, Abbeel 2020. [Denoising diffusion probabilistic models](https://arxiv.org/abs/2006.11239).
- Nichol, Dhariwal 2021. [Improved denoising diffusion probabilistic models](https://arxiv.org/abs/2102.09672): cosine.
- Ho, Salimans 2022. [Classifier-free diffusion guidance](https://arxiv.org/abs/2207.12598).
- Naeem and others 2020. [Reliable fidelity and diversity metrics](https://arxiv.org/abs/2002.09797): coverage.
- Heusel and others 2017. [GANs trained by a two time-scale update rule](https://arxiv.org/abs/1706.08500): the Fréchet
  distance."""
