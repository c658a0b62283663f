"""What the numbers say: accuracy over seeds with its spread, paired differences, confusion matrices, distances."""
import numpy as np
import pandas as pd
from scipy import stats
from sklearn.metrics import confusion_matrix
from sklearn.metrics import pairwise_distances_argmin_min as nearest


def accuracy(predictions, labels):
    """Share of right predictions in percent. predictions (..., N), labels (N,) -> (...)"""
    return 100 * (np.asarray(predictions) == np.asarray(labels)).mean(-1)


def mean_interval(values, level=0.95):
    """Mean and half-width of its Student t interval over repeats. values (n,), n >= 2. Units of the values."""
    values = np.asarray(values, float)
    half = stats.t.ppf((1 + level) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean()), float(half)


def summarise(name, values):
    """{name, name_sd, name_n} of one value per seed: what metrics.json keeps of an accuracy."""
    values = np.asarray(values, float)
    return {name: float(values.mean()), f"{name}_sd": float(values.std(ddof=1)), f"{name}_n": len(values)}


def side_by_side(rows, sigmas=4):
    """What a formula says beside what a simulation gives. rows: (quantity, expected, measured, its standard error).

    A number is inside if it is off by at most `sigmas` standard errors: of the right ones, 1 in 16,000 is not (4).
    Returns a DataFrame with quantity, expected, measured, tolerance, inside ("yes" or "NO").
    """
    table = pd.DataFrame([[row[0], *map(float, row[1:])] for row in rows],
                         columns=["quantity", "expected", "measured", "tolerance"])
    table["tolerance"] *= sigmas
    inside = (table["expected"] - table["measured"]).abs() <= table["tolerance"]
    return table.assign(inside=np.where(inside, "yes", "NO"))


def confusion(predictions, labels, num_classes):
    """Row-normalised confusion matrix in percent, averaged over the members. predictions (M, N) -> (K, K)

    Row: true class; column: predicted class; each row sums to 100.
    """
    matrices = [confusion_matrix(labels, p, labels=range(num_classes), normalize="true") for p in predictions]
    return 100 * np.mean(matrices, 0)


def class_agreement(judged, labels, num_classes):
    """Percent of each class's images that the judge gives the label they were made for. (K,)"""
    judged, labels = np.asarray(judged), np.asarray(labels)
    return np.array([100 * (judged[labels == k] == k).mean() for k in range(num_classes)])


def nearest_distance(images, reference):
    """Root mean squared pixel difference (0..255) of each image to the nearest of `reference`; and which. (N,), (N,)

    A copy of a training image has distance near 0: compare with how far held-out real images are.
    """
    a, b = (np.asarray(x).reshape(len(x), -1).astype(np.float32) for x in (images, reference))
    index, distance = nearest(a, b)
    return distance / np.sqrt(a.shape[1]), index
