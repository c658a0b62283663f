"""What is published can be used without data and without training, and only what a commit made is published."""
import json

import numpy as np
import pytest
import torch
from commands import python

from lib import ROOT, InputError
from lib.diffusion.checkpoints import load_tensors, save_model
from lib.diffusion.schedules import make_schedule
from lib.diffusion.unet import UNet
from lib.engine import plan as plans
from lib.engine import publish
from lib.report import runs

PLAN = "title: t\ntrain: {small: {steps: 1}}\ngenerate: {}\naugment: {}\ndose: {}\nschedules: {}\nablation: {}\n"


@pytest.fixture
def network(tmp_path):
    torch.manual_seed(0)
    model = UNet(image_channels=3, image_size=8, num_classes=2, channels=8, channel_mult=(1,), num_res_blocks=1,
                 attn_resolutions=())
    model.trained, model.classes = (make_schedule("cosine", 30), "v"), ("cat", "dog")
    save_model(tmp_path / "model.safetensors", model)
    return tmp_path / "model.safetensors"


@pytest.fixture
def finished(tmp_path, network, monkeypatch):
    """A plan of one training, finished, with a report, in a folder of its own."""
    monkeypatch.setattr(plans, "ROOT", tmp_path)
    monkeypatch.setattr(runs, "ROOT", tmp_path)
    monkeypatch.setattr(publish, "FOLDER", tmp_path / "published")
    (tmp_path / "reports/plans").mkdir(parents=True)
    (tmp_path / "notebooks").symlink_to(publish.ROOT / "notebooks")
    (tmp_path / "reports/plans/mine.yml").write_text(PLAN)
    plan = plans.read_plan("mine")
    for job in plan.jobs:
        job.folder.mkdir(parents=True)
        runs.write_json(job.folder / "config.json", job.values)
        runs.write_json(job.folder / "provenance.json", {"uncommitted_changes": False, "files": {}})
        runs.write_json(job.folder / "result.json", {"loss": 0.5})
    network.replace(plan.job("train", "small").folder / "model.safetensors")
    runs.write_atomic(plan.html, "page")
    runs.write_atomic(plan.pdf, "%PDF")
    return plan


def test_a_published_plan_has_its_report_numbers_and_network(finished):
    folder = publish.publish("mine", "small")
    assert sorted(p.name for p in folder.iterdir()) == ["result.json", "network.safetensors", "report.html", "report.pdf"]
    assert json.loads((folder / "result.json").read_text())["train/small"] == {"loss": 0.5}
    tensors, _ = load_tensors(folder / "network.safetensors")
    assert {t.dtype for name, t in tensors.items() if name != "schedule.betas"} == {torch.bfloat16}
    assert list(publish.networks()) == ["mine"]


def test_what_is_not_finished_or_in_no_commit_is_not_published(finished):
    with pytest.raises(InputError, match="network 'large': expected one of small"):
        publish.publish("mine", "large")
    file = finished.job("train", "small").folder / "provenance.json"
    file.write_text(file.read_text().replace("false", "true"))
    with pytest.raises(InputError, match="train/small was made with changes that are in no commit"):
        publish.publish("mine")
    (finished.job("train", "small").folder / "result.json").unlink()
    with pytest.raises(InputError, match="train/small is not finished: `python3 -m lib report mine` makes it"):
        publish.publish("mine")


def test_a_network_that_is_too_large_is_not_published(finished, monkeypatch):
    monkeypatch.setattr(publish, "LARGEST", 1000)
    with pytest.raises(InputError, match="expected at most 0 MB"):
        publish.publish("mine", "small")
    assert not publish.networks()


def test_a_network_file_is_all_that_dreaming_needs(network, tmp_path):
    png, npz = publish.dream(str(network), per_class=3, steps=2, out=tmp_path / "dreams")
    arrays = np.load(npz)
    assert arrays["images"].shape == (6, 3, 8, 8) and arrays["labels"].tolist() == [0, 1] * 3
    assert png.read_bytes().startswith(b"\x89PNG")
    again = np.load(publish.dream(str(network), per_class=2, steps=2, out=tmp_path / "again")[1])["images"]
    assert np.array_equal(again, arrays["images"][:4])                  # image i depends on seed and i alone


@pytest.mark.parametrize("words, said", [
    (["nothing"], "network 'nothing': expected one of"), (["--per-class", "0"], "--per-class 0: expected at least 1"),
    (["--guidance", "-1"], "--guidance -1.0: expected at least 0")])
def test_wrong_words_for_dream_end_in_one_sentence(words, said):
    done = python(ROOT, "-m", "lib", "dream", *words)
    assert done.returncode == 2 and said in done.stderr and len(done.stderr.splitlines()) == 1
