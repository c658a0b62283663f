"""What the numbers say: accuracy over seeds with its spread, paired differences, confusion matrices, distances."""
import numpy as np
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


def confusion(predictions, labels, num_classes):
    """Row-normalised confusion matrix in percent, averaged over the members. predictions (M, N) -> (K, K)

    Row: true class; column: predicted class; each row sums to 100.
    """
    matrices = [confusion_matrix(labels, p, labels=range(num_classes), normalize="true") for p in predictions]
    return 100 * np.mean(matrices, 0)


def proportion_interval(percent, n, level=0.95):
    """Wilson's interval (low, high) of a share of n independent images; all in percent."""
    low, high = stats.binomtest(round(percent * n / 100), n).proportion_ci(level, method="wilson")
    return 100 * low, 100 * high


def difference_of_proportions(a, b, level=0.95):
    """Difference of two shares, each (percent, n), with Newcombe's interval: (difference, low, high) in points."""
    (p, n), (q, m) = a, b
    (p_low, p_high), (q_low, q_high) = proportion_interval(p, n, level), proportion_interval(q, m, level)
    return p - q, p - q - np.hypot(p - p_low, q_high - q), p - q + np.hypot(p_high - p, q - q_low)


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
