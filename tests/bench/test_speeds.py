"""The README of the bench prints no number that the published run did not write."""
import json

import pytest

from lib import ROOT

README = (ROOT / "lib" / "bench" / "README.md").read_text(encoding="utf-8")


def test_the_tables_hold_the_numbers_of_the_published_bench():
    record = json.loads((ROOT / "reports" / "published" / "bench.json").read_text(encoding="utf-8"))
    assert record["instructions"] in README and not any(row["missing"] for row in record["rows"])
    for case in dict.fromkeys(row["case"] for row in record["rows"]):
        ours, *others = (row for row in record["rows"] if row["case"] == case)
        ratios = ", ".join(f"{row['ratio']:.2f} ({row['ratio_low']:.2f} to {row['ratio_high']:.2f}) {row['side']}"
                           for row in others if row["side"] != "sampler alone")
        share, calls = 100 * ours["share_of_ceiling"], f", {ours['steps']} calls" * case.startswith("sample")
        assert f"| `{case}`{calls} | {ours['images_per_second']:,.0f} | {share:.0f} % | {ratios} |" in README
    for row in record["on_paper"]:
        hours = (row["hours_10m"], row["hours_200m"], row["hours_made"])
        times = " | ".join(f"{h:,.0f} h" if h < 72 else f"{h / 24:,.0f} days" for h in hours)
        link = f"{row['link_gb_s']:.2g} GB/s" if row["link_gb_s"] else "none"
        assert f"| {row['devices']} | {row['batch']:,} | {times} | {link} | {row['images_mb_s']:.2g} MB/s |" in README
    fastest = [max(rates.values()) for rates in record["ceiling_gflops"].values()]
    assert f"{min(fastest):.0f} to {max(fastest):.0f} GFLOP/s" in README.replace("\n", " ")
    products = {(row["case"], row["side"]): row["gflop_per_image"] for row in record["rows"]}
    apart = [products[case, "lucidrains"] / products[case, "ours"] for case in ("train-32x32", "train-8x8")]
    assert "needs {:.2f} times the products of ours an image at 32x32, and {:.2f} times at 8x8".format(*apart) in README.replace("\n", " ")
    alone = [row["ratio"] for row in record["rows"] if row["side"] == "sampler alone"]
    assert f"{100 * min(alone):.1f} to {100 * max(alone):.1f} % of the network's time" in README.replace("\n", " ")


@pytest.mark.parametrize("minutes, met", [(13, False), (40, True)])
def test_the_table_of_time_to_a_quality_holds_the_numbers_of_its_published_runs(minutes, met):
    record = json.loads((ROOT / "reports" / "published" / f"quality-{minutes}.json").read_text(encoding="utf-8"))
    assert record["minutes"] == minutes and len(record["rows"]) >= 3 and not record["uncommitted_changes"]
    assert {row["met"] for row in record["rows"] if "met" in row} == {met}
    for row in record["rows"]:
        agreement = "knows no labels" if row["agreement"] is None else f"{row['agreement']:.1f} %"
        assert (f"| {row['side']} | {row['minutes']:.2g} | {row['updates']:,} | {row['parameters'] / 1e6:.2f} | {agreement} | "
                f"{row['frechet']:.1f} | {row['coverage']:.2f} |") in README
    words = README.replace("\n", " ")
    assert f"right on {100 * record['judge_right']:.1f} % of the test images" in words
    assert f"500 real images have {record['frechet_reference']:.2f}." in words
    assert "**In one training each it is met at 40 minutes, and not at 13**" in words


def test_the_minutes_that_each_side_took_of_the_longer_budget_are_told():
    rows = json.loads((ROOT / "reports" / "published" / "quality-40.json").read_text(encoding="utf-8"))["rows"]
    first, *others, last = rows
    assert [row["side"] for row in rows] == ["ours", "diffusers", "lucidrains", "ours"]
    took = [f"{row['seconds'] / 60:.0f}" for row in (last, *others)]
    told = "ours took {} minutes, diffusers' {} and denoising-diffusion-pytorch's {}.".format(*took)
    distances = "at {:.1f}, where diffusers' is at {:.1f} and denoising-diffusion-pytorch's at {:.1f} after 40.".format(
        *(row["frechet"] for row in (first, *others)))
    assert told in README.replace("\n", " ") and distances in README.replace("\n", " ")


def test_what_the_readme_says_of_diffusers_and_of_goals_is_what_the_published_bench_says():
    rows = json.loads((ROOT / "reports" / "published" / "bench.json").read_text(encoding="utf-8"))["rows"]
    assert {row["case"] for row in rows if row["side"] == "diffusers" and row["ratio_low"] > 1} == {"sample-8x8"}
    assert "**Against diffusers only sampling at 8x8 is clearly faster**" in README
    assert {(row["case"], row["side"], row.get("goal") or row["share_goal"]) for row in rows if row.get("met") is False} == {
        ("train-32x32", "diffusers", 1.35), ("train-8x8", "diffusers", 1.25), ("sample-32x32", "diffusers", 1.25),
        ("sample-8x8", "diffusers", 1.25), ("train-32x32", "ours", 0.7), ("mlp-cifar", "scikit-learn", 8)}
