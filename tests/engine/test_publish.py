"""What is published can be used without data and without training, and only what a commit made is published."""
import importlib.metadata

import pypdf
import pytest
import torch
import toy
from bs4 import BeautifulSoup

from lib import InputError
from lib.diffusion.checkpoints import load_tensors, save_model
from lib.diffusion.schedules import make_schedule
from lib.diffusion.unet import UNet
from lib.engine import publish, taken
from lib.engine.stale import stale
from lib.report import runs

PAGE = """<title>One</title><main><h1>One</h1>
<p class="links"><a href="train/one/notebook.html">notebook</a> · <a href="train/one/history.csv">data (CSV)</a></p>
<p class="links"><a href="train/one.1/notebook.html">notebook</a> · <a href="train/one/history.csv">data (CSV)</a></p></main>"""


@pytest.fixture
def network(tmp_path):
    torch.manual_seed(0)
    model = UNet(image_channels=3, image_size=8, num_classes=2, channels=8, channel_mult=(1,), num_res_blocks=1,
                 attn_resolutions=())
    model.trained, model.classes = (make_schedule("cosine", 30), "v"), ("cat", "dog")
    save_model(tmp_path / "model.safetensors", model)
    return tmp_path / "model.safetensors"


@pytest.fixture
def finished(project, network, monkeypatch):
    """The plan `one` of the toy project, finished in this process, its training's network beside."""
    toy.be_quick(monkeypatch)
    monkeypatch.setattr(publish, "FOLDER", project / "published")
    monkeypatch.setattr(publish, "model_card", lambda plan, job: f"the card of {job.label}")    # a toy's result is none
    plan = toy.plan.read_plan("one")
    for job in plan.jobs:
        run = toy.run_here(project, job.values)
        if job.step == "train":
            (run.folder / "model.safetensors").write_bytes(network.read_bytes())
    build = plan.html.parent
    runs.write_atomic(plan.html, PAGE)
    runs.write_atomic(plan.pdf, "%PDF")
    for name in ("train/one/history.csv", "train/one/notebook.html", "train/one/notebook.ipynb", "train/one.1/notebook.html"):
        runs.write_atomic(build / name, "made")
    runs.write_json(build / "plan.json", {"plan": "one", "title": "", "about": "", "runs": ["train/one"], "missing": []})
    pages = {file.relative_to(build).as_posix(): runs.sha256(file) for file in build.rglob("*") if file.is_file()}
    runs.write_json(run.path("provenance.json"), run.provenance | {"pages": pages})
    return plan


def test_a_published_plan_has_its_site_network_and_packages(finished):
    folder = publish.publish("one", "one")
    assert sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()) == [
        "data.html", "network.md", "network.safetensors", "plan.json", "report.html", "report.pdf", "requirements.txt", "train/one/history.csv",
        "train/one/notebook.html", "train/one/notebook.ipynb"]
    assert f"torch=={importlib.metadata.version('torch')}\n" in (folder / "requirements.txt").read_text()
    tensors, _ = load_tensors(folder / "network.safetensors")
    assert {t.dtype for name, t in tensors.items() if name != "schedule.betas"} == {torch.bfloat16}
    assert (folder / "network.md").read_text() == "the card of train/one"


def test_a_plan_takes_published_networks_instead_of_training(finished, monkeypatch):
    job = finished.job("train", "one")
    for name in ("config.json", "result.json", "provenance.json"):                          # as the page's site has them
        (finished.html.parent / job.label / name).write_bytes((job.folder / name).read_bytes())
    folder = publish.publish("one", networks=True)
    monkeypatch.setattr(taken, "FOLDER", folder.parent)
    assert taken.taken(finished) == {}                      # it has its own
    (job.folder / "model.safetensors").unlink()
    job.folder.rename(job.folder.with_name("aside"))
    assert "train/one" in stale(finished)
    assert list(taken.take(finished)) == ["train/one"]
    assert "train/one" not in stale(finished)
    run = runs.load(job.config.run_dir)
    runs.write_json(run.path("provenance.json"), run.provenance | {"code": {"lib.work": "as it was"}})
    assert "train/one" not in stale(finished)               # the network is what was published, whatever the code does
    run = runs.load(job.config.run_dir)
    assert run.provenance["published"].endswith("one/train/one") and run.config == job.values
    tensors, _ = load_tensors(run.path("model.safetensors"))
    assert {t.dtype for name, t in tensors.items() if name != "schedule.betas"} == {torch.bfloat16}


def test_a_training_with_other_parameters_takes_no_published_network(finished, monkeypatch):
    job = finished.job("train", "one")
    (finished.html.parent / job.label / "config.json").write_text((job.folder / "config.json").read_text().replace('"linear"', '"cosine"'))
    folder = publish.publish("one", networks=True)
    monkeypatch.setattr(taken, "FOLDER", folder.parent)
    job.folder.rename(job.folder.with_name("aside"))
    assert taken.take(finished) == {} and "train/one" in stale(finished)


def test_a_published_page_and_its_pdf_lead_to_nothing_that_stays_behind(finished):
    folder = publish.publish("one")
    page = BeautifulSoup((folder / "report.html").read_text(encoding="utf-8"), "html.parser")
    assert [p.get_text() for p in page.select("p")] == ["notebook · data (CSV)", "data (CSV)"]
    assert all((folder / a["href"]).exists() for a in page.select("a"))
    pages = pypdf.PdfReader(folder / "report.pdf").pages
    assert {a.get_object()["/A"]["/URI"] for page in pages for a in page.get("/Annots", [])} == {
        "train/one/notebook.html", "train/one/history.csv"}


def test_a_publication_replaces_all_or_nothing(finished, monkeypatch):
    folder = publish.publish("one", "one")
    before = {p.name for p in folder.iterdir()}
    monkeypatch.setattr(publish, "LARGEST", 1000)
    with pytest.raises(InputError, match="expected at most 0 MB"):
        publish.publish("one", "one")
    assert {p.name for p in folder.iterdir()} == before == before | {"network.safetensors"}
    assert "network.safetensors" not in {p.name for p in publish.publish("one").iterdir()}
    assert {p.name for p in folder.parent.iterdir()} == {"one", "index.html"}


def test_a_publication_that_was_killed_is_mended_by_the_next(finished, capsys):
    folder = publish.publish("one")
    (folder / "old").touch()
    folder.rename(folder.with_name(".one.old"))
    (folder.with_name(".one.new")).mkdir()
    publish.mend(folder)
    assert (folder / "old").exists() and "an earlier publication was killed" in capsys.readouterr().err
    assert not (publish.publish("one") / "old").exists()
    assert {p.name for p in folder.parent.iterdir()} == {"one", "index.html"}


@pytest.mark.parametrize("record, told", [
    ({"uncommitted_changes": True}, "was made with changes that are in no commit"),
    ({"uncommitted_changes": "unknown", "commit": "unknown"}, "was made where git could not tell its commit"),
    ({"uncommitted_changes": False, "commit": "unknown"}, "was made where git could not tell its commit"),
    ({"uncommitted_changes": None}, "was made where git could not tell its commit")])
def test_what_git_cannot_vouch_for_is_not_published(finished, record, told):
    run = runs.load("reports/runs/one/train/one")
    runs.write_json(run.path("provenance.json"), run.provenance | record)
    with pytest.raises(InputError, match=f"^train/one {told}"):
        publish.publish("one")


def test_what_is_not_up_to_date_is_not_published(finished):
    with pytest.raises(InputError, match="network 'large': expected one of one"):
        publish.publish("one", "large")
    finished.pdf.write_text("another")
    with pytest.raises(InputError, match="^report/default is not up to date .its page or PDF is missing or another one.: "
                                         "`python3 -m lib report one` makes it"):
        publish.publish("one")



