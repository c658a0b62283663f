"""A formula beside a simulation: is each number of the one within the other's chance?

A row is (quantity, expected, measured, standard error of the measured), the latter for Gaussian draws.
"""
import numpy as np
import pandas as pd
import torch

SIGMAS = 4      # standard errors within which a number counts as right: of the right ones, 1 in 16,000 lies outside


def mean(what, draws, expected, sd):
    """The row of the mean of `draws` (n,), whose standard deviation should be `sd`; its error is sd / sqrt(n)."""
    return f"{what}: mean", expected, draws.mean(), sd / draws.numel()**0.5


def spread(what, draws, expected):
    """The row of the standard deviation of `draws` (n,); its error is sd / sqrt(2n)."""
    return f"{what}: standard deviation", expected, draws.std(), expected / (2 * draws.numel())**0.5


def moments(what, draws, expected, sd):
    """Both rows of Gaussian `draws`: their mean and their standard deviation."""
    return [mean(what, draws, expected, sd), spread(what, draws, sd)]


def uncorrelated(what, a, b):
    """The row of the correlation of a and b (n,), which should be 0; its error is 1 / sqrt(n)."""
    return f"{what}: correlation", 0, torch.corrcoef(torch.stack([a, b]))[0, 1], a.numel()**-0.5


def side_by_side(rows):
    """DataFrame of the rows: quantity, expected, measured, tolerance (SIGMAS standard errors), inside ("yes", "NO")."""
    table = pd.DataFrame([(what, *map(float, numbers)) for what, *numbers in rows],
                         columns=["quantity", "expected", "measured", "tolerance"])
    table["tolerance"] *= SIGMAS
    inside = (table["expected"] - table["measured"]).abs() <= table["tolerance"]
    return table.assign(inside=np.where(inside, "yes", "NO"))
