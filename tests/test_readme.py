"""The README prints no number that a published run did not write."""
import itertools
import json
import re

import pytest

from lib import ROOT
from lib.evaluation import proportion_interval

README = (ROOT / "README.md").read_text(encoding="utf-8")
PUBLISHED = ROOT / "reports" / "published"


@pytest.mark.parametrize("plan, study", [("digits", "cosine"), ("digits", "plain"), ("cifar10-small", "cosine")])
def test_the_table_holds_the_numbers_of_the_published_report(plan, study):
    m = json.loads((PUBLISHED / plan / "metrics.json").read_text(encoding="utf-8"))[f"augment/{study}"]
    shift = f"{m['accuracy_real_shift']:.1f} ± {m['accuracy_real_shift_sd']:.1f}" if "accuracy_real_shift" in m else "not run"
    row = (f"| {m['accuracy_real']:.1f} ± {m['accuracy_real_sd']:.1f} | {shift} | {m['accuracy_mixed']:.1f} ± {m['accuracy_mixed_sd']:.1f} "
           f"| **{m['gain']:+.1f} ± {m['gain_half']:.1f}** | {m['naive_gain']:+.1f} ± {m['naive_gain_half']:.1f} |")
    assert row in README
    assert m["accuracy_real_n"] == 5 and f"({m['real_images']:,} and {m['synthetic_images']:,})" in README


@pytest.mark.parametrize("schedule, target", list(itertools.product(("linear", "cosine"), ("eps", "v"))))
def test_the_table_of_limits_holds_the_numbers_of_the_published_report(schedule, target):
    runs, cells = json.loads((PUBLISHED / "why-cosine" / "metrics.json").read_text(encoding="utf-8")), []
    for limit in ("none", "clip"):
        m = runs[f"generate/{schedule}-{target}-{limit}"]
        low, high = proportion_interval(m["label_agreement"], m["images"])
        cells.append(f"{m['label_agreement']:.1f} ({low:.1f} to {high:.1f})")
        assert m["images"] == 200
    assert f"| {schedule}, {target} | {' | '.join(cells)} |" in README


def test_the_sentence_on_both_holds_the_published_number():
    m = json.loads((PUBLISHED / "digits" / "metrics.json").read_text(encoding="utf-8"))["augment/cosine"]
    assert f"{m['accuracy_real_shift_synthetic']:.1f} ± {m['accuracy_real_shift_synthetic_sd']:.1f} with both" in README


def test_every_link_leads_to_a_file():
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert links and all((ROOT / link).exists() for link in links), links


def test_every_published_report_is_a_page_with_its_numbers():
    for folder in PUBLISHED.iterdir():
        assert (folder / "report.html").exists() and json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
