"""The long CIFAR-10 plans, end to end with everything tiny: stopped half way, moved to another folder, finished there."""
import json
import os
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
from commands import own_environment, project_files, python, python_of
from PIL import Image
from ruamel.yaml import YAML

from lib import ROOT
from lib.report import results

pytestmark = pytest.mark.slow
RUNGS = {100_000: 16, 300_000: 32, 600_000: 40, 1_000_000: 48, 3_000_000: 64, 6_750_000: 32, 9_000_000: 48}
PER_CLASS = {0: 0, 50: 3, 100: 4, 200: 5, 500: 6}
TINY = {
    "train": {"dataset": "folder", "size": 16, "T": 50, "channels": 8, "channel_mult": [1], "num_res_blocks": 1, "batch": 8,
              "warmup_steps": 2, "ema_halflife_images": 20, "bound_images": 4, "bound_draws": 4},
    "generate": {"images_per_class": 16, "sample_steps": 3, "judge_widths": [4], "judge_steps": 2},
    "augment": {"widths": [4, 4], "steps": 4, "batch": 8},
    "dose": {"widths": [4], "ratios": [0, 0.5, 1], "shares": [0, 0.5, 1], "real_fractions": [0.5, 1], "steps": 3, "batch": 8}}


def tiny(name):
    """The plan `name` with every number that costs time made small: its runs, arms, settings and rungs stay."""
    plan = YAML(typ="safe", pure=True).load((ROOT / "reports" / "plans" / f"{name}.yml").read_text(encoding="utf-8"))
    if "replicates" in plan:
        plan["replicates"] = 3 if name == "cifar10-laptop" else 2
    for step, small in TINY.items():
        for values in plan.get(step, {}).values():
            values |= small
            if "rungs" in values:
                values["rungs"] = [RUNGS[rung] for rung in values["rungs"]]
            if "rung" in values:
                values["rung"] = RUNGS[values["rung"]]
            if "per_class" in values:
                values["per_class"] = PER_CLASS[values["per_class"]]
            if len(values.get("optimum_steps", [])) > 2:
                values["optimum_steps"] = [0.5, 1]
    return plan


def project(root, name):
    """A copy of the project in `root` with the tiny plan."""
    for file in project_files(ROOT):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, root / file)
    own_environment(root)
    with (root / "reports" / "plans" / "tiny.yml").open("w", encoding="utf-8") as file:
        YAML().dump(tiny(name), file)
    return root


def pictures(folder):
    """Three classes of 16x16 pictures that differ in their colours: 18 to learn from, and 12 for the test."""
    rng = np.random.default_rng(0)
    for part, n in (("train", 18), ("test", 12)):
        for k, colour in enumerate(("red", "green", "blue")):
            (folder / part / colour).mkdir(parents=True)
            for i in range(n):
                pixels = rng.integers(0, 120, (16, 16, 3))
                pixels[..., k] += 100
                Image.fromarray(pixels.astype(np.uint8)).save(folder / part / colour / f"{i}.png")
    return folder


def stopped(root, env, ready):
    """Run the plan and interrupt it as soon as so many runs are finished; the files of the unfinished ones stay."""
    process = subprocess.Popen([python_of(root), "-m", "lib", "report", "tiny"], cwd=root, env=env, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    end = time.time() + 900
    while process.poll() is None and len(finished(root)) < ready and time.time() < end:
        time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=120)
    assert process.returncode and len(finished(root)) >= ready, out


def finished(root):
    return {path.parent for path in (root / "reports" / "runs" / "tiny").glob("*/*/result.json")}


@pytest.mark.parametrize("name", ["cifar10-full", "cifar10-paper"])
def test_a_long_plan_is_finished_in_another_folder(tmp_path, name):
    here, there = project(tmp_path / "here", name), project(tmp_path / "there", name)
    env = os.environ | {"DREAMING_DATA_DIR": str(pictures(tmp_path / "pictures")), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    homes = {root: env | {"PYTHONPATH": str(root)} for root in (here, there)}
    number = {"cifar10-laptop": 20, "cifar10-full": 30, "cifar10-paper": 5}[name]
    stopped(here, homes[here], number)
    runs = there / "reports" / "runs" / "tiny"
    shutil.copytree(here / "reports" / "runs" / "tiny", runs)
    shutil.rmtree(here)
    kept = {path: path.joinpath("result.json").stat().st_mtime_ns for path in finished(there)}
    done = python(there, "-m", "lib", "report", "tiny", seconds=1800, env=homes[there])
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert all(path.joinpath("result.json").stat().st_mtime_ns == made for path, made in kept.items())     # nothing twice
    page = (there / "reports" / "build" / "tiny" / "report.html").read_text(encoding="utf-8")
    if name != "cifar10-paper":
        assert "How near the generator is, and how scarce the real images are" in page
        assert len(list(runs.glob("generate/judge-*.safetensors"))) == 1
        study = results.loads((runs / "augment" / "n1000" / "result.json").read_text(encoding="utf-8"), "it")
        assert {gain.arm for gain in study.generator_gains} == {"real + synthetic", "real + oracle"}
        assert study.best_gain("real + further real") and study.augment == "flip and shift"
    for images in runs.glob("generate/*/images.npz"):               # nobody is going to read them
        images.unlink()
    done = python(there, "-m", "lib", "report", "tiny", "-n", env=homes[there])
    assert "0 of" in done.stdout, done.stdout
    (runs / "augment" / ("n5000" if name != "cifar10-paper" else "linear") / "result.json").unlink()
    done = python(there, "-m", "lib", "report", "tiny", "-n", env=homes[there])
    again = {line.partition(":")[0] for line in done.stdout.splitlines() if ": its images are gone" in line}
    assert again and all(label.startswith("generate/") for label in again), done.stdout
    config = json.loads((runs / "augment" / ("n5000" if name != "cifar10-paper" else "linear") / "config.json").read_text())
    assert {f"generate/{folder.rpartition('/')[2]}" for folder in config["generate_runs"] + config["oracle_runs"]} <= again
