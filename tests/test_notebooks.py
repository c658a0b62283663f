"""The whole path on the smoke plan, in a copy of the repository: the command, its report, and what it left."""
import json
import os
import re

import nbformat
import numpy as np
import papermill
import pytest
import torch
from commands import call, python

from lib import ROOT, data
from lib.engine.kernel import INTERACTIVE
from lib.engine.parameters import STEPS
from lib.report import results
from lib.report.runs import write_atomic

smoke = [pytest.mark.slow, pytest.mark.smoke]
RUNS = ["schedules/default", "train/cosine.0", "train/cosine.1", "train/linear", "generate/cosine.0", "generate/cosine.1",
        "generate/linear", "augment/cosine", "augment/linear", "dose/cosine", "ablation/default", "report/default"]


class TestSmokePlan:
    pytestmark = smoke

    def test_the_command_ends_with_the_paths_of_page_and_pdf(self, report):
        assert [line.strip() for line in report[0].splitlines()[-3:-1]] == ["reports/build/smoke/report.html",
                                                                          "reports/build/smoke/report.pdf"]

    def test_every_run_leaves_its_parameters_its_origin_and_a_typed_result(self, report):
        for run in RUNS:
            folder = report[1] / run
            config, provenance = (json.loads((folder / f"{name}.json").read_text()) for name in ("config", "provenance"))
            assert config["run_dir"] == f"reports/runs/smoke/{run}"
            assert {"commit", "versions", "device", "threads", "start", "seconds", "files"} <= set(provenance), run
            assert type(result_of(folder)).__module__.endswith(".results"), run
            assert not (folder / "progress.json").exists() and not list(folder.glob("state-*")), run

    def test_saved_notebooks_hold_one_line_of_progress_at_most_per_loop_and_no_error(self, report):
        for run in RUNS:
            for cell in nbformat.read(report[1] / run / "notebook.ipynb", as_version=4).cells:
                outputs = cell.get("outputs", [])
                assert len([o for o in outputs if o.get("metadata", {}).get("progress")]) <= 1, run
                assert not [o for o in outputs if o.output_type == "error"], run

    def test_no_time_goes_into_explorers_that_nobody_moves(self, report):
        for run in RUNS:
            cells = nbformat.read(report[1] / run / "notebook.ipynb", as_version=4).cells
            assert not [c for c in cells if "explorer" in c.metadata.tags and c.get("outputs")], run

    def test_exactly_as_many_images_of_each_class_as_asked(self, report):
        arrays = np.load(report[1] / "generate" / "cosine.0" / "images.npz")
        assert arrays["images"].shape == (40, 1, 8, 8) and arrays["images"].dtype == np.uint8
        assert np.bincount(arrays["labels"]).tolist() == [4] * 10

    def test_one_reverse_step_in_the_open_is_the_samplers(self, report):
        for run in ("generate/cosine.0", "generate/linear"):
            assert "own first step: 0." in (report[1] / run / "notebook.ipynb").read_text()

    def test_the_page_tells_the_story_in_figures_with_words_and_asks_for_nothing(self, report):
        page = report[2]
        assert page.title.get_text() == page.h1.get_text()
        assert len(page.select("main h2")) >= 6 and "Appendix A" in page.select_one("main").get_text()
        drawn = page.select("figure [role=img]")
        assert len(drawn) >= 5 and all(figure["aria-label"] and figure.svg for figure in drawn)
        assert not page.select("img:not([alt])")
        assert not page.select("script") and not re.search(r"(src|href)=['\"]https?://(?!arxiv\.org)", str(page))

    def test_the_page_shows_the_numbers_that_the_runs_wrote(self, report):
        study = result_of(report[1] / "augment" / "cosine")
        text = " ".join(report[2].select_one("main").get_text().split())
        assert study.gain.bare in text
        assert [arm.arm for arm in study.arms if arm.accuracy.number(arm.accuracy.value) not in text] == []

    def test_the_page_names_no_folder_of_this_machine(self, report, root):
        text = str(report[2])
        assert str(root) not in text and os.path.expanduser("~") + "/" not in text

    def test_the_pdf_holds_the_same_sections_and_figures(self, report):
        text = "\n".join(p.extract_text() for p in report[3].pages)
        assert report[3].metadata.title == report[2].h1.get_text() and f"1 / {len(report[3].pages)}" in text
        assert "Appendix A" in text
        numbers = [n.get_text() for n in report[2].select("figcaption .number")]
        assert numbers and all(number in text for number in numbers)

    def test_a_second_call_makes_nothing_again(self, report, root):
        before = {p: p.stat().st_mtime_ns for p in report[1].rglob("result.json")}
        done = call(root, "report", "smoke")
        assert done.returncode == 0 and "up to date" in done.stdout
        assert {p: p.stat().st_mtime_ns for p in report[1].rglob("result.json")} == before


def result_of(folder):
    return results.loads((folder / "result.json").read_text(), folder.name)


# ---------------------------------------------------------------- without our command
@pytest.mark.slow
@pytest.mark.parametrize("step, given, words", [
    ("schedules", {"seeds": 100}, "unknown parameter 'seeds', perhaps 'seed'"),
    ("train", {"lr": "1e-4"}, "lr='1e-4' is str, expected a number"),
])
def test_bare_papermill_cannot_pass_a_wrong_parameter(tmp_path, monkeypatch, step, given, words):
    monkeypatch.chdir(ROOT)
    notebook = f"notebooks/{STEPS[step].notebook}.ipynb"                    # braces in a longer path would be fields
    with pytest.raises(papermill.PapermillExecutionError) as error:
        papermill.execute_notebook(notebook, tmp_path / "out.ipynb", given, cwd=ROOT, progress_bar=False)
    assert error.value.ename == "InputError" and words in error.value.evalue


@pytest.mark.slow
def test_bare_papermill_runs_a_notebook(root):
    done = python(root, "-m", "papermill", "notebooks/10_schedules.ipynb", "out.ipynb", "-p", "T", "50", seconds=300,
                  env=os.environ | {"PYTHONPATH": str(root)})
    assert done.returncode == 0, done.stderr
    run = root / "reports/runs/interactive/schedules/default"
    assert json.loads((run / "config.json").read_text())["T"] == 50 and result_of(run).T == 50


@pytest.mark.slow
def test_a_page_on_images_from_elsewhere_measures_them_and_refuses_test_images(root, tmp_path):
    split, options = data.load("digits", per_class=20), ("dataset=digits", "per_class=20", "judge_steps=30")
    noisy = (split.train.images.int() + torch.randint(-30, 31, split.train.images.shape)).clamp(0, 255).to(torch.uint8)
    for name, images, labels in (("new", noisy, split.train.labels), ("leak", split.test.images, split.test.labels)):
        np.savez(tmp_path / f"{name}.npz", images=images, labels=labels)
    done = call(root, "run", "external", *options, f"synthetic_dir={tmp_path / 'new.npz'}", "images_per_class=15")
    assert done.returncode == 0, done.stderr
    result = result_of(root / INTERACTIVE / "external" / "default")
    assert result.images == 150 and result.synthetic_counts == (15,) * 10 and result.class_counts == (20,) * 10
    assert result.memorisation.copies == result.near_test.copies == 0 and result.label_agreement.value > 20
    done = call(root, "run", "external", *options, f"synthetic_dir={tmp_path / 'leak.npz'}")
    assert done.returncode == 1 and "images of the synthetic images are test images" in done.stderr and "image 0" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("step, made", [("ablation", ["train", "generate", "augment", "ablation"]), ("dose", ["dose"])])
def test_a_page_alone_runs_with_the_explorers_and_after_the_pages_that_it_reads(root, step, made):
    write_atomic(root / INTERACTIVE / "quick", "")
    done = call(root, "run", step)
    assert done.returncode == 0, done.stderr
    for step in made:
        cells = nbformat.read(root / INTERACTIVE / step / "default" / "notebook.ipynb", as_version=4).cells
        shown = [cell.outputs for cell in cells if "explorer" in cell.metadata.tags and "explore_" in cell.source]
        assert shown and all("application/vnd.jupyter.widget-view+json" in outputs[-1].data for outputs in shown), step
