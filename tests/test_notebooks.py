"""The whole path on the smoke plan, in a copy of the repository: the command, its report, and what it left."""
import itertools
import json
import os
import re
import shutil

import nbformat
import papermill
import pytest
from commands import call, python

from lib import ROOT
from lib.engine.parameters import STEPS

pytestmark = pytest.mark.slow
RUNS = ["schedules/default", "train/cosine", "train/linear", "generate/cosine", "generate/cosine-again", "generate/linear",
        "augment/cosine", "augment/linear", "dose/cosine", "ablation/default", "report/default"]


def test_the_command_ends_with_the_paths_of_page_and_pdf(report):
    assert [line.strip() for line in report[0].splitlines()[-2:]] == ["reports/build/smoke/report.html",
                                                                      "reports/build/smoke/report.pdf"]


@pytest.mark.parametrize("run", RUNS)
def test_every_run_leaves_its_parameters_origin_and_numbers(report, run):
    folder = report[1] / run
    metrics, provenance = (json.loads((folder / f"{name}.json").read_text()) for name in ("metrics", "provenance"))
    assert all(isinstance(v, int | float | str) for v in metrics.values())
    assert {"commit", "versions", "device", "threads", "start", "seconds", "files"} <= set(provenance)
    defaults = json.loads((folder / "config.json").read_text())
    assert defaults["run_dir"] == f"reports/runs/smoke/{run}"
    assert not (folder / "progress.json").exists() and not list(folder.glob("state-*"))


@pytest.mark.parametrize("run", RUNS)
def test_saved_notebooks_hold_one_line_of_progress_at_most_per_loop(report, run):
    nb = nbformat.read(report[1] / run / "notebook.ipynb", as_version=4)
    for cell in nb.cells:
        if cell.cell_type == "code":
            lines = [o for o in cell.outputs if o.get("metadata", {}).get("progress")]
            assert len(lines) <= 1
            assert not [o for o in cell.outputs if o.output_type == "error"]


def test_exactly_as_many_images_of_each_class_as_asked(report):
    import numpy as np
    arrays = np.load(report[1] / "generate" / "cosine" / "images.npz")
    assert arrays["images"].shape == (40, 1, 8, 8) and arrays["images"].dtype == np.uint8
    assert np.bincount(arrays["labels"]).tolist() == [4] * 10


def test_the_page_tells_the_whole_story(report):
    page = report[2]
    assert page.title.get_text() == "Smoke test"
    sections = [h.get_text() for h in page.select("main h2")]
    assert sections[:8] == ["How the images turn into noise", "What the network learned", "What it imagines",
                            "What it does for a classifier", "How many synthetic images is a real one worth?", "What changed with the configuration",
                            "The seed paper's claims beside these results", "What this does not show"]
    assert sections[-1 - [s.startswith("Appendix A") for s in sections[::-1]].index(True)].startswith("Appendix A: Noise")
    assert len(page.select("figure img[alt]")) >= 15 and not page.select("img:not([alt])")
    assert len(page.select("math")) >= 15
    assert not page.select("script") and not re.search(r"(src|href)=['\"]https?://(?!arxiv\.org)", str(page))


def test_the_page_shows_the_numbers_that_the_runs_wrote(report):
    metrics = json.loads((report[1] / "augment" / "cosine" / "result.json").read_text())
    text = report[2].select_one("main").get_text()
    arms = [name.removeprefix("arm_") for name in metrics if name.startswith("arm_")]
    assert len(arms) == 14 and {"real", "mixed", "synthetic_only", "equal_epochs"} <= set(arms)
    for arm in arms:
        assert f"{metrics[f'accuracy_{arm}']:.2f}" in text
        assert arm == "real" or "{:+.2f} ({:+.2f} to {:+.2f})".format(*(metrics[f"{k}_{arm}"] for k in ("difference", "low", "high"))) in text
    assert f"{metrics['gain']:+.2f} points ({metrics['gain_low']:+.2f} to {metrics['gain_high']:+.2f})" in text
    assert metrics["generators"] == 2 and metrics["accuracy_real_n"] == 2 and metrics["accuracy_mixed_n"] == 4
    assert "memorisation gate:" in text.lower() and json.loads((report[1] / "dose" / "cosine" / "result.json").read_text())["answer"] in text


def test_the_page_names_no_folder_of_this_machine(report, root):
    text = str(report[2])
    assert str(root) not in text and os.path.expanduser("~") + "/" not in text


def test_the_pdf_holds_the_same_sections_and_figures(report):
    text = "\n".join(p.extract_text() for p in report[3].pages)
    assert report[3].metadata.title == "Smoke test" and f"1 / {len(report[3].pages)}" in text
    for words in ("What it imagines", "The seed paper", "Appendix A", "Ho et al. eq. 4"):
        assert words in text
    assert sum(len(p.images) for p in report[3].pages) == len(report[2].select("figure img"))


def test_a_second_call_makes_nothing_again(report, root):
    before = {p: p.stat().st_mtime_ns for p in report[1].rglob("result.json")}
    done = call(root, "report", "smoke")
    assert done.returncode == 0 and "up to date" in done.stdout
    assert {p: p.stat().st_mtime_ns for p in report[1].rglob("result.json")} == before


@pytest.mark.parametrize("step, given, words", [
    ("schedules", {"seeds": 100}, "unknown parameter 'seeds', perhaps 'seed'"),
    ("train", {"lr": "1e-4"}, "lr='1e-4' is str, expected a number"),
    ("generate", {"x0_handling": False}, "x0_handling=False is bool, expected text"),
    ("augment", {"widths": "[8]"}, "widths='[8]' is str, expected a list of int"),
])
def test_bare_papermill_cannot_pass_a_wrong_parameter(tmp_path, step, given, words):
    notebook = ROOT / "notebooks" / f"{STEPS[step].notebook}.ipynb"
    with pytest.raises(papermill.PapermillExecutionError) as error:
        papermill.execute_notebook(notebook, tmp_path / "out.ipynb", given, cwd=ROOT, progress_bar=False)
    assert error.value.ename == "InputError" and words in error.value.evalue


def test_bare_papermill_runs_a_notebook(root):
    done = python(root, "-m", "papermill", "notebooks/10_schedules.ipynb", "out.ipynb", "-p", "T", "50", seconds=300,
                  env=os.environ | {"PYTHONPATH": str(root)})
    assert done.returncode == 0, done.stderr
    assert json.loads((root / "reports/runs/interactive/schedules/default/config.json").read_text())["T"] == 50


@pytest.mark.parametrize("without_limit, words", [
    ({("cosine", "eps"): 20}, r"The hypothesis survives: without a limit cosine with target eps loses 70\.0 points"),
    ({("cosine", "eps"): 20, ("linear", "eps"): 20}, "The hypothesis does not survive: without a limit cosine with target "),
    ({}, r"The hypothesis does not survive: .* loses 0\.0 points .*, linear with eps \+0\.0 \(-6\.0 to \+6\.0\)"),
    ({("cosine", "eps"): 84}, r"Label agreement does not decide it at this n: .* loses 6\.0 points"),
])
def test_the_ablation_says_whether_a_limit_on_the_estimate_was_needed(report, root, without_limit, words):
    """Runs that never were, copied from the smoke plan, with the agreements of the test: 90 % but where it says other."""
    made, smoke = root / "reports/runs/made-up", report[1]
    shutil.rmtree(made, ignore_errors=True)
    for schedule, target in itertools.product(("linear", "cosine"), ("eps", "v")):
        copy_run(smoke / "train/cosine", made / f"train/{schedule}-{target}", {"schedule": schedule, "target": target}, {})
        for x0 in ("none", "clip"):
            agreement = without_limit.get((schedule, target), 90) if x0 == "none" else 90
            copy_run(smoke / "generate/cosine", made / f"generate/{schedule}-{target}-{x0}",
                     {"train_run": f"reports/runs/made-up/train/{schedule}-{target}", "x0_handling": x0},
                     {"label_agreement": agreement, "images": 200})
    runs = [p.parent.relative_to(root).as_posix() for p in sorted(made.rglob("result.json"))]
    done = call(root, "run", "ablation", f"runs=[{', '.join(runs)}]", "run_dir=reports/runs/made-up/ablation/default")
    assert done.returncode == 0, done.stdout + done.stderr
    metrics = json.loads((made / "ablation/default/result.json").read_text())
    assert re.match(words, metrics["limit_verdict"]), metrics
    assert (made / "ablation/default/figures/limit.png").exists()


def copy_run(source, target, config, metrics):
    shutil.copytree(source, target)
    for name, change in (("config", config | {"run_dir": "reports/" + target.as_posix().split("/reports/")[1]}), ("metrics", metrics)):
        file = target / f"{name}.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | change))
