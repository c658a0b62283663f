"""The article: which sections a plan gets, what they say, and how numbers stand in them."""
import dataclasses
import re
from types import SimpleNamespace

import made_up
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from made_up import ARMS, SAMPLE, TRAIN, generation, study, training
from matplotlib.text import Text

from lib.report import tables
from lib.report.article import captions, figures, opening, sentences, story
from lib.report.article.gathered import Step, in_turn
from lib.report.results import Estimate, Training
from lib.study import fitting
from lib.study.results import AtOptimum


def article(gathered, answers=()):
    """All blocks of the article, in the notebook's order."""
    sections = (story.front, story.compared, story.cause, story.mistakes, story.quality, story.worth, story.cosine)
    return [block for section in sections for block in section(gathered)] + [
        *story.claims(gathered, answers), *story.limits(gathered), *story.appendices(gathered)]


def headings(blocks):
    return [b.splitlines()[0].lstrip("# ") for b in blocks if isinstance(b, str) and b.startswith("## ")]


def pictures(blocks):
    return [b for b in blocks if isinstance(b, story.Picture)]


def prose(blocks):
    """Everything that is read: text, captions, tables' cells."""
    words = [b if isinstance(b, str) else b.caption if isinstance(b, story.Picture) else b.to_string() for b in blocks]
    return "\n".join(words)


def test_a_full_plan_has_every_section_in_order():
    assert headings(article(made_up.full(), made_up.answers())) == [
        "What was compared", "Was it the images?", "Which mistakes vanished?", "Are the images good and new?",
        "How many synthetic images is a real one worth?", "The original paper's claims",
        "Limits, and what would change our mind", "Where the numbers come from", "References",
        "Appendix: every arm", "Appendix: training", "Appendix: images of every generator"]


PLANS = {
    "everything": made_up.full(),
    "one study": made_up.gathered(),
    "no study": made_up.gathered(made_up.steps({})),
    "a training alone": made_up.gathered(made_up.steps({})[:1]),
    "nothing": made_up.gathered([]),
    "schedules alone": made_up.gathered([Step("schedules/default", {}, made_up.schedules())]),
    "the two arms alone": made_up.gathered(made_up.steps({"mlp": made_up.study(
        arms={"real": 60.0, "real + synthetic": 61.0})})),
    "missing runs": made_up.gathered(missing=("reports/runs/p/augment/cnn",)),
    "three classes": made_up.gathered(made_up.steps(classes=("cat", "dog", "fish"), dataset="folder", data="a folder")),
    "long and odd names": made_up.gathered(made_up.steps(
        classes=("$x_1$ & <b>bold</b>", "猫" * 30, "#" + "a" * 59), dataset="folder", data="images of <a> & $b$")),
    "thirty classes": made_up.gathered(made_up.steps(classes=[f"class {k}" for k in range(30)])),
    "a failed cosine": made_up.gathered(made_up.limited()),
}


@pytest.mark.parametrize("plan", PLANS)
def test_no_section_is_empty(plan):
    blocks = article(PLANS[plan], made_up.answers())
    assert all(len(b) for b in blocks if not isinstance(b, story.Picture))
    starts = [isinstance(b, str) and b.startswith("## ") for b in blocks]
    assert not any(a and b for a, b in zip(starts, [*starts[1:], True], strict=True))


@pytest.mark.parametrize("plan", ["everything", "the two arms alone", "long and odd names", "thirty classes",
                                  "a failed cosine"])
@pytest.mark.filterwarnings("error")                # a letter without glyph, a layout without room
def test_every_picture_can_be_drawn_and_read_on_a_phone(plan):
    for picture in pictures(article(PLANS[plan])):
        fig = picture.draw()
        fig.draw_without_rendering()
        sizes = [text.get_fontsize() for text in fig.findobj(Text) if text.get_text()]
        assert (fig.get_figwidth(), min(sizes) >= 9) == (story.figures.WIDTH, True), picture.name
        assert picture.alt and picture.caption.startswith("**")
        plt.close(fig)


def test_a_figure_stands_once_and_has_a_name_of_its_own():
    names = [picture.name for picture in pictures(article(made_up.full()))]
    assert len(names) == len(set(names))


def test_numbers_have_the_real_minus_and_no_exponent():
    text = prose(article(PLANS["everything"], made_up.answers()))
    text = re.sub(r"\(http\S+\)|&#\d+;|0\.\d+\.\d+|\d{4}-\d\d-\d\d|[\w-]*\.(csv|html)|<[^>]*>", "", text)
    assert not re.search(r"(?<![\w.])-\d", text)
    assert not re.search(r"\d[eE][-+]?\d|nan|None", text)
    assert "< 0.001" in text and not re.search(r"0\.000", text)


# ---------------------------------------------------------------- the title
def title(**studies):
    return opening.title(made_up.gathered(made_up.steps(studies)))


def studied(gain, rival=20.0, classifier="MLP"):
    return made_up.study(classifier, {"real": 60.0, "real + shift": 60.0 + rival, "real + synthetic": 60.0 + gain})


def test_the_title_says_whom_the_images_help_and_that_something_free_helps_more():
    assert title(a=studied(10), b=studied(0.5, classifier="CNN")) == (
        "Synthetic digits help an MLP, but make no clear difference to a CNN; shifting real ones helps the MLP more")


def test_the_title_says_too_where_the_intervals_overlap():
    assert title(a=studied(10, rival=11)) == "Synthetic digits help an MLP; shifting real ones helps too"


def test_the_title_says_where_there_is_no_clear_effect():
    assert title(a=studied(0.5, rival=0.5)) == "Synthetic digits make no clear difference to an MLP"


def test_the_title_says_where_images_hurt():
    assert title(a=studied(-5, rival=0.5)) == "Synthetic digits hurt an MLP"


@pytest.mark.parametrize("gain, best, words", [(-5, 0.2, "hurt an MLP (no clear difference when trained longest)"),
                                               (0.5, 6, "make no clear difference to an MLP (help when trained longest)"),
                                               (10, 6, "help an MLP")])
def test_the_title_says_where_the_best_training_length_gives_another_answer(gain, best, words):
    own = AtOptimum("real + synthetic", 5000, 0.003, True, made_up.percent(60.0), made_up.points(best))
    one = dataclasses.replace(studied(gain, rival=0.5), optimum=(own,))
    assert title(a=one, b=studied(0, classifier="CNN")).startswith(f"Synthetic digits {words}")
    cnn = "a CNN (tried at one length)"
    assert (cnn in title(a=one, b=studied(8, classifier="CNN"))) == (gain != 10)
    abstract = opening.abstract(made_up.gathered(made_up.steps({"a": one, "b": studied(8, classifier="CNN")})))
    assert (f"CNN {made_up.points(8).bare} (tried at one length)." in abstract) == (gain != 10)
    assert f"and {made_up.points(best)} where each is trained as long as is best for it (5,000 updates, the most tried)" in abstract
    assert f"; when trained longest, {made_up.points(best)}." in opening.numbers(made_up.gathered(made_up.steps({"a": one})))
    inside = dataclasses.replace(one, optimum=(dataclasses.replace(own, edge=False),))
    assert "tried" not in opening.abstract(made_up.gathered(made_up.steps({"a": inside})))
    assert "longest" not in title(a=inside)
    both = dataclasses.replace(one, optimum=(*inside.optimum, dataclasses.replace(own, arm="real + shift")))
    assert "longest" not in title(a=both)
    assert "(1 of 2 arms 5,000 updates, the most tried)" in opening.abstract(made_up.gathered(made_up.steps({"a": both})))


def test_the_title_calls_both_kinds_of_mlp_mlps():
    assert title(a=studied(10, rival=0), b=studied(9, classifier="strong MLP")) == "Synthetic digits help MLPs"


def test_the_title_of_three_verdicts_names_each():
    assert title(a=studied(10, rival=0), b=studied(0, classifier="CNN"), c=studied(-9, classifier="strong MLP")) == (
        "Synthetic digits help an MLP, make no clear difference to a CNN, but hurt a strong MLP")


def test_a_plan_that_asks_for_the_limit_on_estimates_says_what_it_does():
    plan = PLANS["a failed cosine"]
    assert opening.title(plan).startswith("The cosine schedule fails without a limit")
    assert opening.numbers(plan).startswith("- **+35.0 points**")
    assert [picture.name for picture in pictures(story.front(plan))] == ["limited", "limit"]


def test_beside_a_study_the_limit_has_a_section_of_its_own():
    plan = made_up.gathered([*made_up.steps(), Step("ablation/default", {}, made_up.ablation("undecided"))])
    assert "limit" in [picture.name for picture in pictures(story.cosine(plan))]
    assert "limit" not in [picture.name for picture in pictures(story.front(plan))]


def test_a_plan_without_a_study_keeps_its_title_as_typed():
    plan = made_up.gathered(made_up.steps({}), title="Why <b>#1</b> costs $5")
    assert "<b>" not in opening.title(plan)
    assert "Why" in opening.title(plan)


# ---------------------------------------------------------------- the front
def test_the_three_numbers_answer_do_they_help_is_it_the_images_and_is_there_a_cheaper_way():
    lines = opening.numbers(made_up.gathered()).splitlines()
    assert [re.match(r"- \*\*(\S+) points\*\* \*(.*?)\* ([\w ]+)", line).groups() for line in lines] == [
        ("+11.6", "Do they help?", "Yes"), ("+6.9", "Is it the images?", "Only in part"),
        ("+20.8", "Is there a cheaper way?", "Yes")]
    assert "+18.5 points" in lines[1]


@pytest.mark.parametrize("images, updates, words", [
    (5, 0, "Yes"), (0, 5, "No"), (5, 5, "Only in part"), (-5, 5, "This is what longer training on the real images adds")])
def test_whether_it_is_the_images_is_answered_by_both_intervals(images, updates, words):
    study = made_up.study(arms={"real": 60.0, "real + synthetic": 60.0 + images, "real, equal epochs": 60.0 - updates})
    assert opening.is_it_the_images(study).startswith(words)


def test_a_study_of_two_arms_has_one_number():
    assert len(opening.numbers(PLANS["the two arms alone"]).splitlines()) == 1


def test_the_abstract_has_at_most_five_sentences():
    abstract = opening.abstract(made_up.full())
    assert 1 <= len(re.findall(r"\.(?= [A-Z]|$)", abstract)) <= 5


def test_missing_runs_are_named_without_their_folder():
    assert "`augment/cnn`" in prose(story.front(PLANS["missing runs"]))
    assert "reports/runs" not in prose(article(PLANS["missing runs"]))


def test_names_of_classes_are_words_in_the_text():
    text = prose(article(PLANS["long and odd names"]))
    assert "<b>" not in text and "$x" not in text and "<a>" not in text


def test_studies_are_named_by_what_sets_them_apart():
    plain = Step("train/plain", made_up.TRAIN, made_up.training("plain 8x8 digits"))
    made = Step("generate/plain", made_up.SAMPLE, made_up.generation(), plain)
    told = [*made_up.steps({"mlp": made_up.study(), "again": made_up.study(), "cnn": made_up.study("CNN")}),
            plain, made, Step("augment/plain", made_up.STUDY, made_up.study(), made)]
    assert list(made_up.gathered(told).names.values()) == ["MLP (mlp)", "MLP (again)", "CNN", "MLP, plain 8x8 digits"]


# ---------------------------------------------------------------- sections
def test_the_bridge_leads_from_the_original_baseline_to_synthetic_images():
    share = captions.bridge(made_up.study())
    assert share.startswith("**37 % of the original paper's gain comes from more updates.**")


def test_without_the_original_comparison_there_is_no_bridge():
    names = [picture.name for picture in pictures(story.cause(PLANS["the two arms alone"]))]
    assert names == ["gains"]


def test_a_control_that_gains_is_said_to():
    study = made_up.study(arms=made_up.ARMS | {"real twice": 75.0})
    assert captions.gains(study).startswith("***real twice* raises")


def test_the_mistake_that_falls_most_is_named():
    study = made_up.study(classes=("cat", "dog", "cow"))
    confusion = study.confusion.copy()
    confusion.loc[("real", "cat"), "cow"] = 40.0
    confusion.loc[("real + synthetic", "cat"), "cow"] = 10.0
    caption = captions.confusion(dataclasses.replace(study, confusion=confusion))
    assert caption.startswith("**cat taken for cow falls most: from 40 % to 10 % of class cat.**")


def test_the_exchange_has_three_rows_that_are_known():
    table = tables.worth(made_up.dose())
    assert list(table["synthetic images alone"]) == ["120", "250", "500"]


def test_a_claim_links_only_to_a_figure_that_is_there():
    (_, _, table), (*_, other) = (story.claims(plan, made_up.answers()) for plan in (made_up.full(), PLANS["no study"]))
    assert 'href="#fig-forest"' in table["evidence"][0]
    assert "href" not in other["evidence"][0]


def test_the_report_keeps_the_data_of_its_figures():
    kept = story.report(made_up.full(), made_up.answers())
    assert set(kept.quality["measure"]) == set(tables.MEASURES)
    main = kept.gains[(kept.gains["study"] == "mlp") & (kept.gains["arm"] == "real + synthetic")]
    assert main["gain"].item() == pytest.approx(11.6)
    assert list(kept.claims["verdict"]) == ["reproduced", "cannot be decided"]


@pytest.mark.parametrize("accuracy, words", [
    (77.4, "includes 0 when all is repeated once more; a control that gains as much as the images (+11.6 points);"),
    (60.8, "includes 0 when all is repeated once more; images of a better generator that do not hurt;"),
    (66.0, "leaves out 0, with more repetitions (here +0.2 points")])
def test_what_would_change_our_mind_fits_what_was_found(accuracy, words):
    plan = made_up.gathered(made_up.steps({"mlp": study(arms=ARMS | {"real + synthetic": accuracy})}))
    assert words in sentences.limits(plan)


def test_the_limits_tell_how_often_images_were_seen_and_what_was_mirrored():
    trained, made, studied = made_up.steps()
    assert "64.0 times by a generator (original paper: 200) and 128.0 times" in sentences.limits(
        made_up.gathered([trained, made, studied]))
    mirrored = dataclasses.replace(trained, config=trained.config | {"flip": True})
    made = dataclasses.replace(made, source=mirrored)
    assert "mirrored" not in sentences.limits(made_up.gathered())
    assert "mirrored images too" in sentences.limits(made_up.gathered([mirrored, made, dataclasses.replace(studied, source=made)]))


def test_the_limits_name_who_was_trained_at_one_learning_rate():
    trained, made, studied = made_up.steps()
    one = dataclasses.replace(studied, config=studied.config | {"lrs": [0.005]})
    assert "one learning rate" not in sentences.limits(made_up.gathered([trained, made, studied]))
    assert "- Trained at one learning rate only: MLP (0.005)." in sentences.limits(made_up.gathered([trained, made, one]))


@pytest.mark.parametrize("gains, words", [
    ((5, 9), "clearly raise the accuracy in 2 of 2 studies"), ((5, -9), "clearly raise the accuracy in 1 and lower it in 1 of 2 studies"),
    ((-5, 0), "clearly lower the accuracy in 1 of 2 studies"), ((0, 0.5), "clearly change the accuracy in none of 2 studies")])
def test_the_forest_says_which_way_the_accuracy_goes(gains, words):
    plan = made_up.gathered(made_up.steps({str(k): studied(gain) for k, gain in enumerate(gains)}))
    assert f"**At equal updates synthetic images {words}.**" in captions.forest(plan)


def test_the_limits_tell_who_was_trained_at_one_length_only():
    own = (AtOptimum("real + synthetic", 5000, 0.003, True, made_up.percent(60.0), made_up.points(1)),)
    both = {"mlp": made_up.study(optimum=own), "cnn": made_up.study("CNN")}
    assert "CNN: trained at one length only, 1,000 updates; free augmentation, shifting real ones, makes +20.8" in sentences.limits(
        made_up.gathered(made_up.steps(both)))
    assert "one length" not in sentences.limits(made_up.gathered(made_up.steps({"mlp": both["mlp"]})))


def test_the_limits_tell_for_each_study_which_gain_stays_unseen_and_how_often_images_were_seen():
    own = (AtOptimum("real", 2000, 0.003, False, made_up.percent(60.0)),)
    told = sentences.limits(made_up.gathered(made_up.steps({
        "mlp": made_up.study(optimum=own), "cnn": made_up.study("CNN", detectable=5.0)})))
    assert "- A gain at equal updates below 4.0 (MLP) and 5.0 (CNN) points may well stay unseen." in told
    assert "and 128.0 (MLP; 256.0 at its optimum) and 128.0 (CNN) times by a classifier" in told


def test_each_study_says_whose_recall_changes_clearly():
    none = made_up.study("CNN")
    none = dataclasses.replace(none, by_class=none.by_class.assign(p=0.2))
    told = sentences.mistakes(made_up.gathered(made_up.steps({"mlp": made_up.study(), "cnn": none})))
    assert "MLP: 10 of 10 classes, 0 (+" in told and "CNN: no class." in told


def test_where_no_class_changes_clearly_no_caption_says_one_does():
    one = made_up.study()
    none = dataclasses.replace(one, by_class=one.by_class.assign(p=0.2))
    assert captions.confusion(none).startswith("**No class's recall changes clearly.**")
    assert captions.slopes(none).startswith("**No class changes clearly.** 10 of 10 classes are found more often, 0 most (+")
    assert captions.slopes(one).startswith("**10 of 10 classes are found more often")


def test_where_classes_change_but_no_mistake_becomes_rarer_the_caption_says_so():
    one = made_up.study()
    same = one.confusion.copy()
    same.loc["real + synthetic"] = same.loc["real"].to_numpy()
    assert captions.confusion(dataclasses.replace(one, confusion=same)).startswith("**No mistake becomes clearly rarer.**")


def test_the_limits_tell_what_repetitions_share():
    plan = replicated()
    assert "share images, and a test image of one may be a training image of another" in sentences.limits(plan)
    assert "All repetitions" not in sentences.limits(made_up.gathered())


def test_each_arm_at_its_own_optimum_stands_in_the_appendix_with_the_data_of_all():
    own = AtOptimum("real + synthetic", 5000, 0.003, True, made_up.percent(60.0), made_up.points(1))
    blocks = story.appendices(made_up.gathered(made_up.steps({"mlp": made_up.study(optimum=(own,))})))
    (table,) = [b for b in blocks if isinstance(b, pd.DataFrame) and "best steps" in b]
    assert table["at the edge of the steps tried"].tolist() == ["yes"]
    assert "[optimum](data/augment-mlp-optimum.csv)" in prose(blocks) and "choices" not in prose(blocks)


def test_what_images_add_to_the_best_augmentation_at_its_optimum_is_told_with_its_interval(tmp_path):
    arms = ("real", "real + shift", "real + shift + synthetic")
    own = tuple(AtOptimum(arm, 2000, 0.003, False, made_up.percent(80.0), made_up.points(20)) for arm in arms)
    *_, step = made_up.steps({"mlp": made_up.study(optimum=own)})
    assert step.optimum_added is None and "beside them" not in sentences.controls(step)
    labels = np.arange(1000) % 10
    predicted = {f"{arm}, at its optimum": np.where(np.arange(1000) % 20 < share, labels, 10)[None].repeat(5, 0)
                 for arm, share in zip(arms, (10, 12, 14), strict=True)}
    np.savez(tmp_path / "predictions.npz", labels=labels, arms=list(predicted),
             **{f"arm_{k}": p for k, p in enumerate(predicted.values())})
    step = dataclasses.replace(step, run=SimpleNamespace(path=tmp_path.joinpath))
    assert step.optimum_added.value == pytest.approx(10.0)
    assert f"There, synthetic images beside them add {step.optimum_added}." in sentences.controls(step)


def test_the_diagram_says_on_which_repetitions_lengths_are_chosen():
    assert fitting.PILOT == 2
    assert "179 validation images of each of the first two repetitions;" in captions.diagram(made_up.study(replicates=5))
    assert "179 validation images;" in captions.diagram(made_up.study())


def run(**made):
    return SimpleNamespace(provenance=made_up.PROVENANCE | made)


def test_where_the_numbers_come_from_is_told_of_the_runs_and_not_of_the_report():
    trained, made, studied = made_up.steps()
    same = [dataclasses.replace(step, run=run(threads=1)) for step in (trained, made, studied)]
    assert "3 runs took 3 minutes on CPU (x86_64) with 1 thread a run, at commit 0123456789ab, Python" in sentences.provenance(
        made_up.gathered(same))
    last = [same[0], dataclasses.replace(made, run=run(threads=2, seconds=3000.0)),
            dataclasses.replace(studied, run=run(commit="ba9876543210", uncommitted_changes=True))]
    assert ("took 52 minutes on CPU (x86_64) with 1 and 2 threads a run, at 2 commits, the last ba9876543210, some with "
            "changes that were not committed, Python") in sentences.provenance(made_up.gathered(last))
    # a training whose own clock counts more than its run's was interrupted, and so may others have been
    again = [dataclasses.replace(same[0], run=run(seconds=20.0)), *same[1:]]
    assert "took at least 3 minutes" in sentences.provenance(made_up.gathered(again))


def test_the_judge_is_named_without_its_fingerprint():
    trained, made, studied = made_up.steps()
    result = dataclasses.replace(made.result, judge="CNN 16-32-64, 800 steps on 45000 real images, c1f52f98")
    made = dataclasses.replace(made, result=result)
    assert "real images (CNN 16-32-64, 800 steps on 45,000 real images; right on 97.4 %" in sentences.quality(
        made_up.gathered([trained, made, dataclasses.replace(studied, source=made)]))


def replicated(count=3):
    """A plan of `count` replicates, the last of them with copies."""
    one = study(replicates=count, planned=count + 1, seeds=1, generators=count, networks=pd.DataFrame(
        {k: [*ARMS.values()] for k in range(count)}, index=list(ARMS)))
    trained = [Step(f"train/cosine.{k}", TRAIN, training(bits=3.0 + k)) for k in range(count)]
    made = [Step(f"generate/cosine.{k}", SAMPLE, generation(agreement=90.0 + k), trained[k]) for k in range(count)]
    last = dataclasses.replace(made[-1].result, memorisation=dataclasses.replace(made[-1].result.memorisation, verdict="copies", copies=7))
    made[-1] = dataclasses.replace(made[-1], result=last)
    return made_up.gathered([*trained, *made, Step("augment/mlp", made_up.STUDY, one, made[0])])


def test_replicates_are_told_of_as_one():
    plan = replicated()
    assert "3 of 4 repetitions of the whole experiment" in captions.forest(plan)
    assert "recognises 91.0 %" in opening.abstract(plan) and "7 images of them are copies of training images with 1 of 3 generators" in opening.abstract(plan)
    assert "seed" not in captions.forest(plan) + sentences.limits(plan)
    (row,) = tables.trainings(plan.families(Training)).to_dict("records")
    assert (row["network"], row["networks"], row["bits/dim"]) == ("cosine", 3, "4.00 (1.52 to 6.48)")
    assert len([b for b in story.appendices(plan) if getattr(b, "name", "").startswith("gallery")]) == 1
    (quality,) = [b for b in story.quality(plan) if isinstance(b, story.Picture)]
    figure = quality.draw()
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["cosine"] and len(figure.axes[0].lines[0].get_xdata()) == 3
    gains = next(b for b in story.cause(plan) if getattr(b, "name", "") == "gains").draw()
    assert len([line for line in gains.axes[0].lines if len(line.get_xdata()) == 3]) == len(ARMS) - 3    # real, shuffled labels, equal epochs
    one = pd.DataFrame({"images": [1, 2], "loss": [1.0, 0.5], "error_0": 0.1})
    losses = figures.losses_and_errors({"cosine": [one] * 10, "linear": [one]})
    assert [t.get_text() for t in losses.legends[0].get_texts()] == ["cosine", "linear"] and len(losses.axes[0].lines) == 11
    plt.close("all")


def test_a_dot_in_a_name_makes_no_replicates_of_what_differs():
    trained = Step("train/cosine", TRAIN, training())
    made = [Step(f"generate/guidance-{g}", SAMPLE | {"guidance": g}, generation(agreement=agreement), trained)
            for g, agreement in ((1.0, 60.0), (1.5, 90.0))]
    seeds = [Step(f"generate/other.{k}", SAMPLE | {"seed": k, "train_run": f"x.{k}"}, generation(),
                        Step(f"train/{name}.{k}", TRAIN | {"schedule": name}, training())) for k, name in enumerate(("linear", "cosine"))]
    plan = made_up.gathered([trained, *made, *seeds])
    assert list(plan.families(type(made[0].result))) == ["guidance-1.0", "guidance-1.5", "other.0", "other.1"]
    assert "guidance-1.0: 60.0 % of its images are recognised" in captions.quality(plan).replace("&#45;", "-").replace("&#46;", ".")


def test_an_optimum_at_the_largest_number_of_updates_is_a_limit_that_is_told():
    few, most, inside = (AtOptimum("real", steps, 0.003, edge, made_up.percent(60.0)) for steps, edge in ((500, True), (5000, True), (2000, False)))
    told = sentences.edges(study(optimum=(few, most, inside, most)))
    assert told == ["The best number of updates is the largest tried (5,000) for 2 of 4 arms: it may lie beyond."]
    assert sentences.edges(study(optimum=(few, inside))) == sentences.edges(study()) == []


def test_images_are_taken_from_each_class_in_turn():
    images, labels = list(range(7)), [0, 0, 0, 2, 2, 1, 1]
    assert list(in_turn(images, labels, 7)) == [0, 5, 3, 1, 6, 4, 2]


def test_steps_know_what_they_were_made_from():
    trained, made, studied = made_up.steps()
    assert (studied.training, studied.generation, made.training) == (trained, made, trained)
    assert studied.data == "digits on a 12x12 canvas"


def test_an_unclear_estimate_is_hollow():
    fig, ax = story.figures.article(1.0)
    story.figures.interval(ax, Estimate(1.0, -1.0, 3.0), 0, "red")
    story.figures.interval(ax, Estimate(2.0, 1.0, 3.0), 1, "red")
    assert [line.get_markerfacecolor() for line in ax.lines if line.get_marker() == "o"] == ["white", "red"]
    plt.close(fig)


def test_labels_that_are_close_move_apart_and_keep_their_order():
    places = story.figures.spaced([50.0, 50.1, 80.0], 2.0)
    assert places[1] - places[0] == pytest.approx(2.0, abs=1e-6)
    assert places[2] == 80.0
