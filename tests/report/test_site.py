"""The small site that a report is, from runs made by hand, and what it keeps to be told again."""
import json

import made_up
import numpy as np
import pypdf
import pytest
from bs4 import BeautifulSoup
from test_page import TEXT, code, picture, write

from lib.report import runs
from lib.report.collected import Collected, Step, collect
from lib.report.results import dumps
from lib.report.site import links, write_site


def make_run(folder, label, result, config=None):
    """A finished run folder made by hand."""
    run = runs.Run(folder / "plan" / label)
    runs.write_json(run.path("config.json"), config or {})
    runs.write_json(run.path("provenance.json"), made_up.PROVENANCE)
    runs.write_atomic(run.path("tables/loss.csv"), "t,loss\n1,2\n")
    runs.write_atomic(run.path("history.csv"), "done,loss\n")
    runs.write_atomic(run.path("model.safetensors"), "large")
    write(run.folder, "notebook.ipynb", [TEXT("# Training"), code(source="train()")])
    runs.write_atomic(run.path("result.json"), dumps(result))
    return run


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(the folder of the site, the collected runs that it is of)."""
    folder = tmp_path_factory.mktemp("site")
    runs_of_plan = [make_run(folder, "train/cosine", made_up.training(), made_up.TRAIN),
                    make_run(folder, "augment/mlp", made_up.study(), made_up.STUDY)]
    arms = {"arms": ["real", "real + synthetic"], "labels": np.arange(5) % 3, "arm_0": np.full((2, 5), -1),
            "arm_1": np.ones((2, 5), int)}
    np.savez(runs_of_plan[1].path("predictions.npz"), **arms)
    collected = Collected(tuple(Step(f"{r.step}/{r.label}", r.config, r.result, run=r) for r in runs_of_plan), (), "plan",
                          "A title", "About it")
    old = folder / "build" / "train" / "old"
    runs.write_atomic(old / "result.json", "old")
    article = write(folder, "a.ipynb", [TEXT("# A finding"), code(picture(name="loss", links=links("train/cosine", "loss")))])
    write_site(article, collected, folder / "build", title="digits")
    return folder / "build", collected


def test_it_has_the_page_and_what_it_is_made_from_and_nothing_old_and_nothing_large(made):
    files = {p.relative_to(made[0]).as_posix() for p in made[0].rglob("*") if p.is_file()}
    run = {"config.json", "history.csv", "notebook.html", "notebook.ipynb", "provenance.json", "result.json", "tables/loss.csv"}
    assert files == {"data.html", "report.html", "report.pdf", "plan.json", "augment/mlp/predictions.npz",
                     *(f"{label}/{name}" for label in ("train/cosine", "augment/mlp") for name in run)}


def test_the_kept_runs_read_as_the_runs_did(made):
    folder, collected = made
    about = json.loads((folder / "plan.json").read_text())
    again = collect([runs.Run(folder / name) for name in about["runs"]], plan=about["plan"])
    assert [step.name for step in again.steps] == [step.name for step in collected.steps]
    assert again.study.result.gain == collected.study.result.gain
    (labels, predictions), (_, before) = again.study.predictions, collected.study.predictions
    assert labels.dtype == np.int8 and all((predictions[arm] == before[arm]).all() for arm in before)


def test_every_relative_link_leads_to_a_file(made):
    for file in made[0].rglob("*.html"):
        hrefs = [a["href"] for a in BeautifulSoup(file.read_text(encoding="utf-8"), "html.parser").select("main a[href]:not([href^='#'])")]
        assert hrefs and all((file.parent / href).is_file() for href in hrefs)


def test_the_pdf_keeps_the_links(made):
    actions = [a.get_object()["/A"].get("/URI") for p in pypdf.PdfReader(made[0] / "report.pdf").pages for a in p.get("/Annots", [])]
    assert {"train/cosine/notebook.html", "train/cosine/tables/loss.csv"} <= set(actions)
