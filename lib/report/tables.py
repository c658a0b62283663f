"""A result's numbers as the tables that one reads: pure functions, result -> DataFrame of text."""
import pandas as pd

from lib.report.results import MINUS, number


def show(table, digits=4):
    """A table for the page: `text`, with a named index as its first columns and no numbers of rows."""
    named = table.index.names != [None]
    return text(table.reset_index() if named else table, digits).style.hide(axis="index")


def text(table, digits=4):
    """Every number of `table` as text: `digits` significant ones, whole numbers in full (1,204), nothing for NaN."""
    def cell(value):
        if isinstance(value, str) or pd.isna(value):
            return value if isinstance(value, str) else ""
        words = f"{value:,}" if pd.api.types.is_integer(value) else f"{value:#.{digits}g}"
        return words.replace("-", MINUS)
    return table.map(cell)


# ---------------------------------------------------------------- schedules
def schedules(result):
    """A row for each schedule of a Schedules result: its ends, its idle steps, its noise gain."""
    f = result.facts
    return pd.DataFrame({
        "signal at T": f["signal_at_T"].map("{:.1e}".format),
        "log-SNR, first": f["log_snr_first"].map(number),
        "last": f["log_snr_last"].map(number),
        "prior KL, bits/dim": f["prior_kl_bits"].map("{:.1e}".format),
        "redundant": (100 * f["redundant_steps"] / result.T).map(lambda v: f"{number(v)} %"),
        "largest gain": f["largest_noise_gain"].map("{:.3g}".format),
        "at t": f["largest_gain_at"].map("{:,}".format)})


# ---------------------------------------------------------------- training

# ---------------------------------------------------------------- generation

# ---------------------------------------------------------------- study

# ---------------------------------------------------------------- dose

# ---------------------------------------------------------------- ablation

# ---------------------------------------------------------------- report
