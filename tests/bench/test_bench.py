"""The bench compares like with like and tells what it could not compare. How fast anything is, no test asserts."""
import dataclasses
import importlib.util
import json
import sys

import pytest
import torch
from torch import nn

from lib import InputError
from lib.bench import bench, peers, quality
from lib.bench.bench import CASES, parameters, run_case
from lib.data.images import Images, Split
from lib.diffusion import devices

CPU = torch.device("cpu")
NEEDS = {"diffusers": "diffusers", "lucidrains": "denoising_diffusion_pytorch"}
SIDES = [(name, side) for name, case in CASES.items() for side in case.sides]


@pytest.fixture(autouse=True)
def little_work(monkeypatch):
    """Small products, and one thread: two on busy cores wait for each other."""
    monkeypatch.setitem(bench.CEILING, "cpu", {"product 64": (64,), "convolution 8": (1, 8, 8)})
    monkeypatch.setitem(bench.TIMES, "cpu", 1)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def tiny(case):
    """The same case with little networks and rounds."""
    unet = case.job.unet and case.job.unet | {"channels": 32, "channel_mult": (1, 2), "num_res_blocks": 1, "lucidrains": 16}
    classifier = case.job.classifier and (case.job.classifier[0], (8,))
    return dataclasses.replace(case, job=dataclasses.replace(
        case.job, batch=4, steps=2, members=min(case.job.members, 2), unet=unet, classifier=classifier))


def start(name, side):
    if side in NEEDS and importlib.util.find_spec(NEEDS[side]) is None:
        pytest.skip(f"{NEEDS[side]} is not installed")
    job = tiny(CASES[name]).job
    return job, *CASES[name].sides[side](job)


@pytest.mark.parametrize("name, side", [pair for pair in SIDES if pair[1] not in ("scikit-learn", "sampler alone")])
def test_each_side_passes_the_same_number_of_images_through_its_networks(name, side, monkeypatch):
    monkeypatch.setattr(devices, "has_bfloat16", lambda: False)                # no trial before the first update
    job, network, rounds = start(name, side)
    images = 0

    def count(module, inputs, output):
        nonlocal images
        output = getattr(output, "sample", output)                             # diffusers wraps it
        images += output.flatten(0, -4 if job.unet else -2).shape[0]           # (B, C, H, W), or (..., B, classes)

    for net in network if isinstance(network, nn.ModuleList) else [network]:
        net.register_forward_hook(count)
    next(rounds)
    assert images == job.batch * job.members * job.steps
    next(rounds)
    assert images == 2 * job.batch * job.members * job.steps


def test_scikit_learn_takes_as_many_steps_on_as_many_images():
    job, nets, rounds = start("mlp-digits", "scikit-learn")
    next(rounds)
    assert [net.t_ for net in nets] == [job.batch * job.steps] * job.members
    assert [net._optimizer.t for net in nets] == [job.steps] * job.members


@pytest.mark.parametrize("name", CASES)
def test_the_sides_have_nearly_the_same_number_of_parameters(name):
    case, counts = CASES[name], {}
    for side, start_side in case.sides.items():
        if side in NEEDS and importlib.util.find_spec(NEEDS[side]) is None or side == "sampler alone":
            continue
        network, rounds = start_side(dataclasses.replace(case.job, steps=1))
        if side == "scikit-learn":
            next(rounds)                                                       # its weights come with the first images
        counts[side] = parameters(network)
    assert all(abs(count / counts["ours"] - 1) < (0.08 if side == "lucidrains" else 1e-3) for side, count in counts.items())


def test_a_tiny_run_has_a_row_for_every_side_and_valid_json(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "denoising_diffusion_pytorch", None)      # as if it were not installed
    file = tmp_path / "bench.json"
    torch.set_num_threads(2)
    cases = {name: tiny(case) for name, case in CASES.items()}
    bench.bench(1, "", cases, file, "cpu")
    record = json.loads(file.read_text(encoding="utf-8"))
    assert [(row["case"], row["side"]) for row in record["rows"]] == SIDES
    assert {row["side"] for row in record["rows"] if row["missing"]} >= {"lucidrains"}
    assert {"commit", "versions", "device", "threads", "start", "load_average", "rounds", "ceiling_gflops"} <= set(record)
    assert record["threads"] == 1 and torch.get_num_threads() == 2
    out = capsys.readouterr().out
    assert out.count("not installed") == sum(row["missing"] for row in record["rows"]) and str(file) in out
    for row in record["rows"]:
        if not row["missing"]:
            assert row["side"] in out and row["images_per_second"] > 0 and len(row["seconds"]) == 1
            ours = next(r for r in record["rows"] if (r["case"], r["side"]) == (row["case"], "ours"))
            assert (row["images"], row["steps"]) == (ours["images"], ours["steps"])


def test_the_ceiling_is_the_best_of_products_and_convolutions():
    rows, rates = run_case("train-8x8", tiny(CASES["train-8x8"]), 2, CPU)
    assert set(rates) == {"product 64", "convolution 8"}
    ours = next(row for row in rows if row["side"] == "ours")
    rate = ours["gflop_per_image"] * ours["images_per_second"]                 # GFLOP/s, of medians and not of pairs
    assert ours["share_of_ceiling"] == pytest.approx(rate / max(rates.values()), rel=0.5)


def test_time_to_quality_has_a_row_for_each_side(monkeypatch, capsys, tmp_path):
    for module in ("diffusers", "denoising_diffusion_pytorch"):
        monkeypatch.setitem(sys.modules, module, None)                         # as if they were not installed
    g = torch.Generator().manual_seed(0)
    images = Images(torch.randint(256, (40, 3, 32, 32), generator=g).to(torch.uint8), torch.arange(40) % 10,
                    tuple("0123456789"))
    monkeypatch.setattr(bench.data, "load", lambda name: Split(images, images, images))
    monkeypatch.setattr(quality, "UPDATES", 1)
    monkeypatch.setattr(quality, "IMAGES", 10)
    monkeypatch.setattr(quality, "JUDGE", quality.JUDGE | {"widths": (8,), "steps": 3})
    monkeypatch.setattr(quality, "TRAINING", quality.TRAINING | {"batch": 4})
    monkeypatch.setattr(quality, "NETWORK", quality.NETWORK | {"channels": 8, "patch": 4})
    record = bench.bench(only="quality", minutes=1e-3, file=tmp_path / "bench.json")
    assert json.loads((tmp_path / "quality.json").read_text(encoding="utf-8"))["rows"] == record["rows"]
    less, *peers_rows, ours = record["rows"]
    assert (less["minutes"], ours["minutes"]) == (1e-3 / quality.FEWER, 1e-3) and less["updates"] <= ours["updates"]
    assert all(0 <= row["agreement"] <= 100 and row["frechet"] > 0 and 0 <= row["coverage"] <= 1 for row in (less, ours))
    assert [row["missing"] for row in peers_rows] == [True, True] and "not installed" in capsys.readouterr().out
    # a call that was interrupted goes on behind its last row; one that ended is measured anew
    trained, train_for, judges, train_judge = [], quality.train_for, [], quality.train_judge
    monkeypatch.setattr(quality, "train_judge", lambda *given, **how: judges.append(how) or train_judge(*given, **how))
    monkeypatch.setattr(quality, "train_for", lambda side, *rest: trained.append(side) or train_for(side, *rest))
    (tmp_path / "quality.json").write_text(json.dumps(record | {"rows": record["rows"][:1]}), encoding="utf-8")
    again = bench.bench(only="quality", minutes=1e-3, file=tmp_path / "bench.json")
    assert trained[0] is quality.diffusers and len(trained) == 3 and again["rows"][0] == record["rows"][0]
    bench.bench(only="quality", minutes=1e-3, file=tmp_path / "bench.json")
    assert len(trained) == 3 + 4 and not judges
    # rows of other code are no rows of this one
    (tmp_path / "quality.json").write_text(json.dumps(again | {"rows": again["rows"][:1], "code": "other"}), encoding="utf-8")
    bench.bench(only="quality", minutes=1e-3, file=tmp_path / "bench.json")
    assert len(trained) == 3 + 4 + 4
    # nor is a judge
    monkeypatch.setattr(bench, "code", lambda: "other")
    bench.bench(only="quality", minutes=1e-3, file=tmp_path / "bench.json")
    assert len(judges) == 1


@pytest.mark.parametrize("options, words", [({"minutes": 0}, "--minutes 0: expected more than 0"),
                                            ({"only": "speed"}, "--only speed: expected one of train-32x32, .*quality"),
                                            ({"rounds": 0}, "--rounds 0: expected 1 or more")])
def test_what_the_bench_does_not_know_is_refused(options, words):
    with pytest.raises(InputError, match=words):
        bench.bench(**options)


def test_on_paper_more_devices_take_less_time_and_need_a_link():
    rows = [{"case": "train-32x32", "side": "ours", "images": 2560, "steps": 10, "images_per_second": 1000.0, "parameters": 25_000_000},
            {"case": "sample-32x32", "side": "ours", "images": 256, "steps": 10, "images_per_second": 2000.0}]
    one, eight, many = bench.on_paper(rows)
    assert (one["hours_10m"], one["hours_200m"]) == pytest.approx((1e4 / 3600, 2e5 / 3600)) and one["link_gb_s"] == 0
    assert eight["hours_10m"] == pytest.approx(one["hours_10m"] / 8) and eight["batch"] == 2048
    assert one["hours_made"] == pytest.approx(5e4 / 3600)                      # half as fast at twice the calls
    assert eight["link_gb_s"] == pytest.approx(2 * 7 / 8 * 1e8 / (0.1 * 0.256) / 1e9) and many["link_gb_s"] > eight["link_gb_s"]
    assert many["images_mb_s"] == pytest.approx(64 * 1000 * 3072 / 1e6)
    assert bench.on_paper(rows[:1]) == []


def test_a_goal_that_is_missed_says_no(monkeypatch):
    case = dataclasses.replace(tiny(CASES["mlp-digits"]), goals={"plain loop": 1e9, "DataLoader": 1e-9})
    rows, _ = run_case("mlp-digits", case, 1, CPU)
    met = {row["side"]: row["met"] for row in rows}
    assert met["plain loop"] is False and met["DataLoader"] is True and met["scikit-learn"] is None
    assert [bench.line(row).split()[-1] for row in rows if row["side"] in ("plain loop", "DataLoader")] == ["NO", "yes"]


def test_pictures_are_the_same_images_as_the_tensors():
    images, labels = peers.Job((3, 32, 32), 4, 1).data(5)
    pictures = peers.Pictures(images, labels)
    torch.testing.assert_close(torch.stack([x for x, _ in pictures]), peers.to_float(images))
    assert [y for _, y in pictures] == labels.tolist()
