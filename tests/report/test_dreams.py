"""Drawing with a trained network alone, and what its model card says."""
import json
import re
import shutil

import numpy as np
import pytest
import torch
from made_up import generation, training
from PIL import Image

from lib import InputError
from lib.data.external import external
from lib.diffusion.checkpoints import load_model, save_model
from lib.diffusion.samplers import draw
from lib.diffusion.schedules import make_schedule
from lib.diffusion.unet import UNet
from lib.engine import dreams
from lib.report.card import card


@pytest.fixture
def network(tmp_path):
    torch.manual_seed(0)
    model = UNet(image_channels=3, image_size=8, num_classes=2, channels=8, channel_mult=(1,), num_res_blocks=1,
                 attn_resolutions=())
    model.trained, model.classes = (make_schedule("cosine", 30), "v"), ("cat", "dog")
    save_model(tmp_path / "model.safetensors", model)
    return tmp_path / "model.safetensors"


def test_a_damaged_published_network_does_not_block_the_others(network, tmp_path, monkeypatch):
    monkeypatch.setattr(dreams, "FOLDER", tmp_path / "published")
    for name, content in (("a", network.read_bytes()[:-9]), ("b", network.read_bytes())):
        (tmp_path / "published" / name).mkdir(parents=True)
        (tmp_path / "published" / name / "network.safetensors").write_bytes(content)
    assert dreams.dream(per_class=1, steps=1, out=tmp_path / "x.png")[0].name == "x.png"
    with pytest.raises(InputError, match="a/network.safetensors"):
        dreams.dream("a", per_class=1, steps=1, out=tmp_path / "x.png")


def test_a_network_file_is_all_that_dreaming_needs(network, tmp_path, monkeypatch):
    monkeypatch.setattr(dreams, "ROOT", tmp_path)
    png, npz = dreams.dream(str(network), per_class=3, steps=2)
    arrays = np.load(npz)
    assert arrays["images"].shape == (6, 3, 8, 8) and arrays["labels"].tolist() == ["cat", "dog"] * 3
    assert png.read_bytes().startswith(b"\x89PNG") and png.parent == tmp_path / "reports" / "build" / "dreams"
    (again,) = dreams.dream(str(network), per_class=2, steps=2, out=tmp_path / "again.npz")
    assert np.array_equal(np.load(again)["images"], arrays["images"][:4])       # image i depends on seed and i alone
    one = np.load(dreams.dream(str(network), classes=["dog"], per_class=2, steps=2, out=tmp_path / "dog.npz")[0])
    assert one["labels"].tolist() == ["dog", "dog"] and one["images"].shape == (2, 3, 8, 8)
    assert np.array_equal(np.load(dreams.dream(str(network), classes=["1"], per_class=2, steps=2, out=tmp_path / "1.npz")[0])["images"], one["images"])


def test_a_network_draws_images_of_the_shape_that_it_learned_from(tmp_path):
    model = UNet(image_channels=1, image_size=[16, 8], num_classes=2, channels=8, channel_mult=(1,), num_res_blocks=1,
                 attn_resolutions=())
    model.trained, model.classes = (make_schedule("cosine", 30), "v"), ("cat", "dog")
    save_model(tmp_path / "wide.safetensors", model)
    (npz,) = dreams.dream(str(tmp_path / "wide.safetensors"), per_class=2, steps=2, out=tmp_path / "wide.npz")
    assert np.load(npz)["images"].shape == (4, 1, 16, 8)
    (gif,) = dreams.dream(str(tmp_path / "wide.safetensors"), per_class=3, steps=2, out=tmp_path / "wide.gif")
    assert Image.open(gif).size == (3 * 48, 2 * 96)
    assert "(1, 16, 8)" in card("own", load_model(tmp_path / "wide.safetensors")[0], training(), generation())


def test_single_files_are_read_as_images_from_elsewhere_and_the_walk_ends_in_the_images(network, tmp_path):
    images = np.load(dreams.dream(str(network), per_class=2, steps=4, out=tmp_path / "a.npz")[0])["images"]
    (folder,) = dreams.dream(str(network), per_class=2, steps=4, out=tmp_path / "made")
    made = external(str(folder), image_shape=(3, 8, 8), classes=("cat", "dog")).images
    assert np.array_equal(made.images, images[[0, 2, 1, 3]]) and made.labels.tolist() == [0, 0, 1, 1]
    (gif,) = dreams.dream(str(network), per_class=2, steps=4, out=tmp_path / "walk.gif")
    with Image.open(gif) as walk:
        assert walk.n_frames == 4 and walk.size == (2 * 48, 2 * 48)
        walk.seek(3)
        last = np.asarray(walk.convert("RGB"), float)[24::48, 24::48]
    assert np.abs(last - images.reshape(2, 2, 3, 8, 8).transpose(1, 0, 3, 4, 2)[:, :, 4, 4]).mean() < 25     # 256 colours


def test_a_network_draws_as_its_study_did_and_two_plans_overwrite_nothing(network, tmp_path):
    for plan in ("one", "two"):
        train, made = tmp_path / plan / "train" / "a", tmp_path / plan / "generate" / "a"
        train.mkdir(parents=True), made.mkdir(parents=True)
        shutil.copy(network, train)
        config = {"train_run": f"reports/runs/{plan}/train/a", "sampler": "ddim", "sample_steps": 3, "spacing": "log-snr", "eta": 0.5, "guidance": 1.0, "x0_handling": "clip"}
        (made / "config.json").write_text(json.dumps(config))
    files = [tmp_path / plan / "train" / "a" / "model.safetensors" for plan in ("one", "two")]
    assert [dreams.title(file) for file in files] == ["one-a", "two-a"] and dreams.of_study(network) == dreams.USUAL
    assert dreams.of_study(files[0]) == {"sampler": "ddim", "steps": 3, "spacing": "log-snr", "eta": 0.5, "guidance": 1.0, "x0_handling": "clip"}
    assert dreams.dream(str(files[0]), per_class=1, out=tmp_path / "x.npz") and dreams.dream(str(files[0]), per_class=1, sampler="heun", out=tmp_path / "x.npz")


@pytest.mark.parametrize("options, words", [
    ({"classes": ["fish"]}, "label 'fish': expected one of 'cat', 'dog'"), ({"classes": ["2"]}, "class 2: expected 0 to 1, or one of cat, dog"),
    ({"out": "x.jpg"}, "--out x.jpg: expected a name that ends with"), ({"steps": 31}, "--steps 31: expected 1 to 30")])
def test_what_a_network_cannot_draw_is_refused(network, options, words):
    with pytest.raises(InputError, match=words):
        dreams.dream(str(network), **options)


def test_the_model_card_draws_the_same_images_in_a_loop_of_diffusers(network):
    pytest.importorskip("diffusers", reason="diffusers is not installed (pip install -e '.[test]')")
    model, *_ = load_model(network)
    text = card("one", model, training("pets", ("cat", "dog")), generation(("cat", "dog")))
    assert "cat, dog" in text and "MIT" in text and str(generation().label_agreement) in text
    code = re.findall(r"(?s)```python\n(.*?)```", text)[-1].replace("reports/published/one/network.safetensors", str(network))
    code = code.replace("timesteps(schedule, 20)", "timesteps(schedule, 9)")
    exec(code, names := {})
    ours = draw(model, ["cat", "dog"], seed=0, steps=9, sampler="dpm++2m")
    assert (names["images"].int() - ours.int()).abs().max() <= 1
