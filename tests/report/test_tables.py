"""Tables of the notebooks 10 and 30."""
import pandas as pd
import pytest

from lib.report import results, tables


def made_schedules(names=("linear", "cosine"), outside=0):
    facts = pd.DataFrame({
        "signal_at_T": [4e-5, 2e-9], "log_snr_first": [9.21, 10.0], "log_snr_last": [-10.12, -19.8],
        "prior_kl_bits": [3e-5, 2e-9], "redundant_steps": [327, 65], "equal_noise_step": [259, 496],
        "first_noise_gain": [0.0202, 31.59], "largest_noise_gain": [0.0202, 31.59], "largest_gain_at": [1999, 1999],
    }, index=pd.Index(["linear", "cosine"], name="schedule"))
    kinds = ["stays right, plain", "saturates, plain", "saturates, x0 clipped"]
    index = pd.MultiIndex.from_product([names, kinds], names=["schedule", "network and sampler"])
    ends = pd.DataFrame({"at the end": [1.0, 1.01, 1.02, 1.03, 10.9, 1.04][:len(index)],
                         "% of pixels lost": [0, 0, 0, 0, 0.12, 0][:len(index)]}, index=index)
    checks = pd.DataFrame({"quantity": ["a", "b"], "inside": ["yes", "NO" if outside else "yes"]})
    return results.Schedules(T=2000, delta=0.05, facts=facts, ends=ends, checks=checks)


# ---------------------------------------------------------------- tables
def test_a_table_is_text_with_one_kind_of_minus_and_no_nan():
    table = pd.DataFrame({"a": [-0.000012345, 12.0], "n": [-1204, 5], "word": ["x-y", None], "gap": [float("nan"), 1.0]})
    assert tables.text(table, 3).values.tolist() == [["\u22121.23 × 10⁻⁵", "\u22121,204", "x-y", ""],
                                                     ["12.0", "5", "", "1.00"]]


def test_a_named_index_is_shown_and_row_numbers_are_not():
    shown = tables.show(pd.DataFrame({"n": [1]}, index=pd.Index(["linear"], name="schedule"))).to_html()
    assert "schedule" in shown and "linear" in shown
    assert 'class="row_heading' not in shown and "row_heading" not in tables.show(pd.DataFrame({"n": [1]})).to_html()


def test_the_table_of_schedules_has_shares_of_T():
    table = tables.schedules(made_schedules())
    assert table.loc["linear", "redundant"] == "16.4 %" and table.loc["cosine", "at t"] == "1,999"
    assert table.loc["cosine", "last"] == "\u221219.8"


@pytest.mark.parametrize("compared", [("linear", "cosine"), ("cosine", "linear"), ("linear",)])
def test_noise_and_errors_has_a_row_for_each_compared_schedule(compared):
    table = tables.noise_and_errors(made_schedules(compared))
    assert table.index.tolist() == list(compared)
    assert table.loc["linear", ["noise outweighs signal from step", "redundant steps", "first gain"]].tolist() == [
        "259", "327", "0.0202"]
    assert table.loc[compared[-1], "spread, saturates"] == {1: "1.01", 2: "10.90"}[len(compared)]


@pytest.mark.parametrize("verdict", ["copies", "too close", "undecided", "none found"])
def test_a_verdict_on_copies_has_its_numbers(verdict):
    (row,) = tables.memorisation(results.Memorisation(verdict, 3, 2.5, 1.0, 18.2, 0.0004, 2.1, 1500)).to_dict("records")
    assert row == {
        "verdict": verdict, "close to a training image, %": "2.5", "expected of new images, %": "1.0", "p": "< 0.001",
        "threshold, grey levels": "18.2", "equal to a training image": "3", "copies found from, %": "2.1", "n": "1,500"}
