"""The README prints no number that a published run did not write."""
import json
import re

import pytest

from lib import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
PUBLISHED = ROOT / "reports" / "published"


@pytest.mark.parametrize("plan, study", [("digits", "cosine"), ("digits", "plain"), ("cifar10-small", "cosine")])
def test_the_table_holds_the_numbers_of_the_published_report(plan, study):
    m = json.loads((PUBLISHED / plan / "metrics.json").read_text(encoding="utf-8"))[f"augment/{study}"]
    row = (f"| {m['accuracy_real']:.1f} ± {m['accuracy_real_sd']:.1f} | {m['accuracy_mixed']:.1f} ± {m['accuracy_mixed_sd']:.1f} "
           f"| **{m['gain']:+.1f} ± {m['gain_half']:.1f}** | {m['naive_gain']:+.1f} ± {m['naive_gain_half']:.1f} |")
    assert row in README
    assert m["accuracy_real_n"] == 5 and f"({m['real_images']:,} and {m['synthetic_images']:,})" in README


def test_every_link_leads_to_a_file():
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert links and all((ROOT / link).exists() for link in links), links


def test_every_published_report_is_a_page_with_its_numbers():
    for folder in PUBLISHED.iterdir():
        assert (folder / "report.html").exists() and json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
