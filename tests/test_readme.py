"""The README prints no number that a published run did not write."""
import itertools
import json
import re
from pathlib import Path

import pytest

from lib import ROOT
from lib.study.statistics import proportion_interval

README = (ROOT / "README.md").read_text(encoding="utf-8")
PUBLISHED = ROOT / "reports" / "published"


def metrics(plan):
    return json.loads((PUBLISHED / plan / "result.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("plan, study, augmented", [
    ("digits", "mlp", "real_shift"), ("digits", "strong-mlp", "real_shift"), ("digits", "cnn", "real_shift"), ("digits", "plain", "real_shift"),
    ("cifar10-small", "mlp", "real_flip_and_shift"), ("cifar10-small", "cnn", "real_flip_and_shift")])
def test_the_table_holds_the_numbers_of_the_published_report(plan, study, augmented):
    m = metrics(plan)[f"augment/{study}"]
    accuracies = " | ".join(f"{m[f'accuracy_{arm}']:.1f} ± {m[f'accuracy_{arm}_sd']:.1f}" for arm in ("real", augmented, "mixed"))
    gain, naive = (f"{m[k]:+.1f} ({m[f'{k}_low']:+.1f} to {m[f'{k}_high']:+.1f})" for k in ("gain", "naive_gain"))
    assert f"({m['real_images']:,} and {m['synthetic_images']:,}) | {accuracies} | **{gain}** | {naive} |" in README
    assert m["accuracy_real_n"] == 5 and m["accuracy_mixed_n"] == 5 * m["generators"]


@pytest.mark.parametrize("schedule, target", list(itertools.product(("linear", "cosine"), ("eps", "v"))))
def test_the_table_of_limits_holds_the_numbers_of_the_published_report(schedule, target):
    runs, cells = metrics("why-cosine"), []
    for limit in ("none", "clip"):
        m = runs[f"generate/{schedule}-{target}-{limit}"]
        low, high = proportion_interval(m["label_agreement"], m["images"])
        cells.append(f"{m['label_agreement']:.1f} ({low:.1f} to {high:.1f})")
        assert m["images"] == 200
    assert f"| {schedule}, {target} | {' | '.join(cells)} |" in README


def test_the_sentences_hold_published_numbers():
    m = metrics("digits")["augment/mlp"]
    assert f"{m['accuracy_real_shift_synthetic']:.1f} ± {m['accuracy_real_shift_synthetic_sd']:.1f} with both" in README.replace("\n", " ")
    for plan in ("digits", "cifar10-small"):
        rows = re.findall(r"([\d,]+) synthetic images alone are as good as ([^;]*?) real ones", metrics(plan)["dose/mlp"]["answer"])
        assert any(f"{a} generated images alone are worth {b} real ones" in README.replace("\n", " ") for a, b in rows)


def test_every_link_leads_to_a_file():
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert links and all((ROOT / link).exists() for link in links), links


def test_every_published_report_is_a_page_with_its_numbers():
    for folder in filter(Path.is_dir, PUBLISHED.iterdir()):
        assert (folder / "report.html").exists() and json.loads((folder / "result.json").read_text(encoding="utf-8"))


def test_the_table_of_speeds_holds_the_numbers_of_the_published_bench():
    record = json.loads((PUBLISHED / "bench.json").read_text(encoding="utf-8"))
    for case in dict.fromkeys(row["case"] for row in record["rows"]):
        ours, *others = (row for row in record["rows"] if row["case"] == case)
        ratios = ", ".join(f"{row['ratio']:.2f} {row['side']}" for row in others if not row["missing"] and row["side"] != "sampler alone")
        assert f"| `{case}` | {ours['images_per_second']:,.0f} | {100 * ours['share_of_matmul']:.0f} % | {ratios} |" in README
    for row in record["on_paper"]:
        days = [f"{h:,.0f} h" if h < 72 else f"{h / 24:,.0f} days" for h in (row["hours_10m"], row["hours_200m"], row["hours_made"])]
        link = f"{row['link_gb_s']:.2g} GB/s" if row["link_gb_s"] else "none"
        assert f"| {row['devices']} | {row['batch']:,} | {' | '.join(days)} | {link} |" in README
    alone = [row["ratio"] for row in record["rows"] if row["side"] == "sampler alone"]
    assert f"{100 * min(alone):.1f} to {100 * max(alone):.1f} % of the network's time" in README
    assert f"{record['instructions']}" in README and not any(row["missing"] for row in record["rows"])
