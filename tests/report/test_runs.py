import json
import os

import matplotlib.pyplot as plt
import numpy as np
import pytest

from lib import InputError
from lib.engine import parameters
from lib.report import runs


@pytest.fixture
def config():
    return parameters.SchedulesConfig(schedules=["linear"], T=10, seed=0, run_dir="reports/runs/p/schedules/x")


@pytest.fixture
def run(tmp_path, monkeypatch, config):
    monkeypatch.setattr(runs, "ROOT", tmp_path)
    return runs.start("schedules", config)


def test_config_and_provenance_are_written_before_any_work(run, config):
    assert run.config == {"schedules": ["linear"], "T": 10, "seed": 0, "run_dir": config.run_dir}
    assert {"commit", "versions", "device", "threads", "start"} <= set(run.provenance)
    assert not run.finished


def test_provenance_names_no_folder_user_or_host(run):
    text = json.dumps(run.provenance)
    assert os.path.expanduser("~") not in text and os.uname().nodename not in text


def test_metrics_are_last_and_mean_finished(run):
    run.save_arrays("images.npz", images=np.zeros((2, 2)))
    run.finish({"accuracy": 50.0})
    assert run.finished and run.metrics == {"accuracy": 50.0}
    assert set(run.provenance["files"]) == {"images.npz"}
    assert [p.name for p in run.folder.iterdir() if p.name.startswith(".")] == [".lock"]


def test_a_metric_that_is_not_a_number_is_refused_and_the_run_stays_unfinished(run):
    with pytest.raises(ValueError, match="metric loss=nan: expected a finite number"):
        run.finish({"loss": float("nan")})
    assert not run.finished


def test_an_unfinished_run_is_refused_by_name(run, config):
    with pytest.raises(InputError, match="'p/schedules/x': expected a finished run"):
        runs.load(config.run_dir)


def test_a_changed_file_is_refused_by_name(run, config):
    run.save_arrays("images.npz", images=np.arange(100))
    run.finish({})
    path = run.path("images.npz")
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match="images.npz is missing or damaged"):
        runs.load(config.run_dir)


def test_starting_again_takes_away_the_old_result_and_keeps_the_training_state(run, config):
    run.path("state-abc.safetensors").write_bytes(b"x")
    run.finish({})
    again = runs.start("schedules", config)
    assert not again.finished and again.path("state-abc.safetensors").exists()


def test_figures_keep_alt_text_and_caption(run, capsys):
    fig = plt.figure()
    run.figure(fig, "empty", "An empty figure.", "Nothing.")
    words = runs.read_json(run.path("figures/figures.json"))
    assert words == {"empty": {"alt": "An empty figure.", "caption": "Nothing."}}
    assert run.path("figures/empty.png").read_bytes()[:4] == b"\x89PNG"


def test_progress_passes_records_on_and_keeps_the_last_state(run):
    records = [{"done": i, "loss": 0.5, "images_per_second": 10.0} for i in (1, 2, 3)]
    assert list(run.track(iter(records), total=3)) == records
    state = runs.read_json(run.path("progress.json"))
    assert (state["done"], state["total"], state["loss"]) == (3, 3, 0.5)


def test_progress_is_one_line_of_words():
    line = runs.progress_line({"done": 412, "total": 1200, "unit": "steps", "loss": 0.0312, "images_per_second": 340.4,
                               "seconds_left": 21.0})
    assert line == "412/1,200 steps, 340 images/s, loss 0.0312, 21 s left"


def test_the_config_hash_does_not_depend_on_the_place(config):
    import dataclasses
    assert runs.config_hash(config) == runs.config_hash(dataclasses.replace(config, run_dir="elsewhere"))
    assert runs.config_hash(config) != runs.config_hash(dataclasses.replace(config, T=11))
