"""Run folders: what a run writes and reads, what is noticed, and what is never touched."""
import dataclasses
import json
import os
import subprocess
import types

import IPython
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from lib import DamagedError, InputError
from lib.engine import parameters
from lib.report import results, runs

TABLE = pd.DataFrame({"claim": ["a"], "here": [1.5]})
RESULT = results.Report(runs=3, missing=1, claims=TABLE, gains=TABLE, quality=TABLE, provenance=TABLE)


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


def test_provenance_names_the_processor_and_what_torch_takes_of_it(run):
    device = run.provenance["device"]
    assert torch.cuda.is_available() or torch.backends.cpu.get_cpu_capability() in device and len(device) > len("CPU (), DEFAULT")


def test_the_result_is_last_typed_and_means_finished(run, config):
    run.save_arrays("images.npz", images=np.zeros((2, 2)))
    run.path("state-abc.safetensors").write_bytes(b"x")
    run.finish(RESULT)
    found = runs.load(config.run_dir).result
    assert run.finished and (found.runs, found.missing) == (3, 1) and found.claims.equals(RESULT.claims)
    tables = {f"tables/{name}.csv" for name in ("claims", "gains", "quality", "provenance")}
    assert set(run.provenance["files"]) == {"images.npz", *tables}
    assert [p.name for p in run.folder.iterdir() if p.name.startswith(".")] == [".lock"]


def test_a_result_that_is_not_a_number_is_refused_and_the_run_stays_unfinished(run):
    with pytest.raises(ValueError, match="expected a finite number"):
        run.finish(dataclasses.replace(RESULT, runs=float("nan")))
    assert not run.finished


def test_a_result_that_was_changed_by_hand_is_damaged(run, config):
    run.finish(RESULT)
    file = run.path("result.json")
    file.write_text(file.read_text().replace('"runs": 3', '"runs": 4'))
    with pytest.raises(DamagedError, match="result.json: changed since the run wrote it") as error:
        runs.load(config.run_dir)
    assert error.value.code == 4


def test_an_unfinished_run_is_refused_by_name(run, config):
    with pytest.raises(InputError, match="'p/schedules/x': expected a finished run"):
        runs.load(config.run_dir)


def test_a_changed_file_is_refused_by_name(run, config):
    run.save_arrays("images.npz", images=np.arange(100))
    run.finish(RESULT)
    path = run.path("images.npz")
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match="images.npz is missing or damaged"):
        runs.load(config.run_dir)


def test_a_finished_run_may_lack_its_images_where_nobody_reads_them_but_not_have_others(run, config):
    run.save_arrays("images.npz", images=np.arange(100))
    run.save_arrays("other.npz", images=np.arange(100))
    run.finish(RESULT)
    run.path("images.npz").unlink()
    assert runs.load(config.run_dir, whole=False).finished
    with pytest.raises(InputError, match="images.npz is missing or damaged"):
        runs.load(config.run_dir)
    run.path("images.npz").write_bytes(b"others")
    with pytest.raises(InputError, match="images.npz is missing or damaged"):
        runs.load(config.run_dir, whole=False)
    run.path("images.npz").unlink()
    run.path("other.npz").unlink()
    with pytest.raises(InputError, match="other.npz is missing or damaged"):
        runs.load(config.run_dir, whole=False)


def test_starting_again_takes_away_the_old_result_and_keeps_the_states(run, config):
    run.finish(RESULT)
    run.path("state-abc.safetensors").write_bytes(b"x")
    run.path("notes.txt").write_text("mine")
    again = runs.start("schedules", config)
    assert not again.finished and sorted(p.name for p in again.folder.iterdir() if p.name[0] != ".") == [
        "config.json", "notes.txt", "provenance.json", "state-abc.safetensors", "tables"]
    assert not list(again.folder.glob("tables/*"))
    again.finish(RESULT)
    assert not again.path("state-abc.safetensors").exists()          # nobody goes on from them now


def test_the_seconds_of_an_interrupted_call_count(run, config):
    list(run.track(iter([{"done": 1}]), total=3))
    told = run.path("progress.json")
    runs.write_json(told, runs.read_json(told) | {"seconds": 500.0})
    run.path("state-abc.safetensors").write_bytes(b"x")
    again = runs.start("schedules", config)
    list(again.track(iter([{"done": 2}]), total=3))
    assert 500 <= runs.read_json(told)["seconds"] < 600             # and of the call after that as well
    last = runs.start("schedules", config)
    for _ in range(2):                                              # a cell that is run again counts nothing twice
        last.finish(RESULT)
        assert 500 <= run.provenance["seconds"] < 600
    runs.start("schedules", config).finish(RESULT)                  # a run that was finished, and is made anew
    assert run.provenance["seconds"] < 100


@pytest.mark.parametrize("changed", [{"T": 11}, {}])
def test_the_seconds_of_another_run_do_not_count(run, config, changed):
    list(run.track(iter([{"done": 1}]), total=3))
    runs.write_json(run.path("progress.json"), {"done": 1, "seconds": 500.0})
    if changed:                                                     # else no state is there: all is done again
        run.path("state-abc.safetensors").write_bytes(b"x")
    again = runs.start("schedules", dataclasses.replace(config, **changed))
    assert again.provenance["earlier_seconds"] == 0


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


def test_the_time_left_of_a_training_that_goes_on_is_told_by_its_new_part(monkeypatch):
    clock, told = [0.0], []
    monkeypatch.setattr(runs.time, "monotonic", lambda: clock[0])

    def training():
        yield from ({"done": done} for done in range(20, 500, 20))   # of the call before
        for done in range(500, 601, 20):
            clock[0] += 10                                           # 2 steps a second
            yield {"done": done}

    list(runs.progress(training(), 3200, "steps", told.append))
    assert told[-1]["done"] == 600 and told[-1]["seconds_left"] == pytest.approx((3200 - 600) / 2)


def test_the_loops_of_a_cell_share_one_line_and_each_cell_has_its_own(run, monkeypatch):
    seen, shell = [], types.SimpleNamespace(execution_count=1)
    monkeypatch.setattr(IPython, "get_ipython", lambda: shell)
    monkeypatch.setattr(runs, "lines", {})
    monkeypatch.setattr(runs.Line, "show", lambda line, text: seen.append((id(line), text.split(": ")[0])))
    for count, about in ((1, "arm 1"), (1, "arm 2"), (2, "arm 3")):
        shell.execution_count = count
        list(run.track(iter([{"done": 1}]), total=1, about=f"{about}: "))
    one, two, three = [line for line, _ in dict.fromkeys(seen)]
    assert list(dict.fromkeys(words for _, words in seen)) == ["arm 1", "arm 2", "arm 3"] and one == two != three


def test_progress_is_one_line_of_words():
    line = runs.progress_line({"done": 412, "total": 1200, "unit": "steps", "loss": 0.0312, "images_per_second": 340.4,
                               "seconds_left": 21.0})
    assert line == "412/1,200 steps, 340 images/s, loss 0.0312, 21 s left"


def test_the_config_hash_does_not_depend_on_the_place(config):
    import dataclasses
    assert runs.config_hash(config) == runs.config_hash(dataclasses.replace(config, run_dir="elsewhere"))
    assert runs.config_hash(config) != runs.config_hash(dataclasses.replace(config, T=11))


# ---------------------------------------------------------------- where a run may write
@pytest.mark.parametrize("run_dir", ["out/a/b/c", "reports/runs", "reports/runs/a/b", "reports/runs/a/b/c/d", "reports/runs/../../a/b/c",
                                     "/tmp/reports/runs/a/b/c", "reports/runs/link/b/c"])
def test_a_run_folder_lies_in_reports_runs_and_nowhere_else(run, tmp_path, run_dir):
    (tmp_path / "elsewhere/b/c").mkdir(parents=True)
    (tmp_path / "reports/runs/link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="^run_dir=.*: expected reports/runs/<plan>/<step>/<name>$"):
        runs.run_at(run_dir)


def test_a_folder_that_no_run_wrote_is_not_cleared(run, tmp_path):
    folder = tmp_path / "reports/runs/p/schedules/y"
    (folder / "figures").mkdir(parents=True)
    (folder / "figures/mine.png").write_text("mine")
    config = parameters.SchedulesConfig(schedules=["linear"], T=10, seed=0, run_dir="reports/runs/p/schedules/y")
    with pytest.raises(InputError, match="'p/schedules/y': its folder holds files that no run wrote .'figures'."):
        runs.start("schedules", config)
    assert (folder / "figures/mine.png").exists() and not (folder / "config.json").exists()


@pytest.mark.parametrize("left", [b"{", None])
def test_a_record_that_is_cut_or_gone_makes_no_folder_somebody_elses(run, config, left):
    record = run.path("provenance.json")
    record.unlink() if left is None else record.write_bytes(left)
    run.path("result.json").write_text("{}")
    assert runs.start("schedules", config).provenance["commit"]


def test_links_out_of_a_run_folder_are_not_followed(run, config, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/a.png").write_text("mine")
    run.path("figures").symlink_to(tmp_path / "mine")
    runs.start("schedules", config)
    assert (tmp_path / "mine/a.png").exists()


# ---------------------------------------------------------------- what git says
def git(folder, *words):
    subprocess.run(["git", "-c", "user.name=x", "-c", "user.email=x@example.org", *words], cwd=folder, check=True, capture_output=True)


def test_the_commit_is_told_only_where_git_can_vouch_for_it(tmp_path, monkeypatch):
    unknown = {"commit": "unknown", "uncommitted_changes": "unknown"}
    project = tmp_path / "project"
    (project / "lib").mkdir(parents=True)
    (project / "lib/a.py").write_text("1")
    monkeypatch.setattr(runs, "ROOT", project)
    assert runs.commit() == unknown                                         # a downloaded ZIP
    git(tmp_path, "init")
    assert runs.commit() == unknown                                         # one in somebody's repository
    git(project, "init")
    git(project, "add", ".")
    git(project, "commit", "-m", "x")
    clean = runs.commit()
    assert len(clean["commit"]) == 12 and clean["uncommitted_changes"] is False
    (project / "lib/b.py").write_text("2")
    assert runs.commit() == clean | {"uncommitted_changes": True}
    monkeypatch.setenv("PATH", "")
    assert runs.commit() == unknown                                         # no git


@pytest.mark.parametrize("where", ["status", "excludes", "info", "environment"])
def test_no_setting_of_git_hides_a_new_file(tmp_path, monkeypatch, where):
    project = tmp_path / "project"
    (project / "lib/data").mkdir(parents=True)
    (project / "lib/a.py").write_text("1")
    monkeypatch.setattr(runs, "ROOT", project)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    git(project, "init")
    git(project, "add", ".")
    git(project, "commit", "-m", "x")
    (tmp_path / "ignored").write_text("data/\n")
    (tmp_path / "gitconfig").write_text({"status": "[status]\nshowUntrackedFiles = no\n",
                                         "excludes": f"[core]\nexcludesFile = {tmp_path / 'ignored'}\n"}.get(where, ""))
    if where == "info":
        (project / ".git/info").mkdir(exist_ok=True)
        (project / ".git/info/exclude").write_text("data/\n")
    if where == "environment":
        git(tmp_path, "init", "other")
        monkeypatch.setenv("GIT_DIR", str(tmp_path / "other/.git"))
    assert runs.commit()["uncommitted_changes"] is False
    (project / "lib/data/mine.py").write_text("2")
    assert runs.commit()["uncommitted_changes"] is True
