"""The quick route says the same as the published page, with less certainty."""
import os
import shutil
import subprocess
import sys

from lib import ROOT
from lib.report import results, runs


def test_the_quick_route_gives_the_published_answer_its_sign(tmp_path, monkeypatch):
    """Pages 20, 30 and 40 with quick on, some four minutes of one core."""
    for name in ("lib", "notebooks", "reports/published/digits"):
        shutil.copytree(ROOT / name, tmp_path / name)
    monkeypatch.setattr(runs, "ROOT", tmp_path)
    (tmp_path / "reports/runs/interactive").mkdir(parents=True)
    (tmp_path / "reports/runs/interactive/quick").touch()
    done = subprocess.run([sys.executable, "-m", "papermill", "40_augment.ipynb", str(tmp_path / "40.ipynb"), "--no-progress-bar"],
                          cwd=tmp_path / "notebooks", env=os.environ | {"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    made = {step: runs.run_at(f"reports/runs/interactive/{step}/default") for step in ("train", "generate", "augment")}
    assert made["train"].config["bound_images"] == 20 and made["augment"].config["seeds"] == 3      # quick's
    published = results.loads((ROOT / "reports/published/digits/augment/mlp/result.json").read_text(encoding="utf-8"), "published").gain
    gain = made["augment"].result.gain
    assert gain.low * published.low > 0 and gain.high * published.high > 0
