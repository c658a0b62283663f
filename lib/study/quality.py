"""How good, how varied and how new are synthetic images? Measures that download nothing.

Images are uint8 (N, C, H, W), features float (N, D). Every measure comes with what a perfect generator would get at the
same numbers of images, because all of them depend on these numbers: show the two side by side.
"""
import hashlib
import inspect
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from scipy import stats
from scipy.spatial.distance import cdist
from sklearn.metrics import pairwise_distances_argmin_min as nearest
from torch import nn

from lib import DamagedError, InputError
from lib.data import load, load_for
from lib.data.augmentations import augmentation
from lib.data.copies import COPY, near
from lib.data.digits import digit_oracle
from lib.data.images import select, to_float
from lib.diffusion.checkpoints import load_tensors, save_tensors, set_aside
from lib.study import classifiers
from lib.study.classifiers import CNN, Airbench, Batches, faster_precision, train_classifier

ALARM = 0.01    # p-value under which the gate speaks: about one in a hundred sets of new real images
AT_MOST = 5000  # images of a measure: its cost grows with their square


class LeakedTest(RuntimeError):
    """Images that should be new are test images."""


def some(images, seed, n=AT_MOST):
    """At most n of the Images, by chance."""
    return select(images, torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:n])


# ---------------------------------------------------------------- judge
@dataclass(frozen=True, eq=False)
class Judge:
    """A frozen network that looks at images; its name says how it came to be and ends with a hash of its weights.

    It must never be the classifier under test: images would be judged by what that very network happens to look at.
    Compare features only of images that it was not trained on: those of its own training images lie elsewhere.
    """

    name: str
    net: nn.Sequential

    @torch.no_grad()
    def _run(self, layers, images):
        device = next(self.net.parameters()).device
        return torch.cat([layers(to_float(part).to(device)).double().cpu() for part in images.split(1000)])

    def features(self, images):
        """What the linear layer gets: the last convolution's averages. (N, C, H, W) uint8 -> (N, D) float64"""
        return self._run(self.net[:-1], images).numpy()

    def probabilities(self, images):
        """Of each class (softmax). (N, C, H, W) uint8 -> (N, K) float64"""
        return self._run(self.net, images).softmax(1).numpy()


def train_judge(train, *, widths, steps, seed, batch=64, lr=2e-3, device="cpu"):
    """Train a `classifiers.CNN` on `train`, real training images only, and freeze it. Returns a Judge.

    seed: another than those of the classifiers under test. Same images, seed, versions and device: same weights.
    """
    model = CNN(tuple(train.images.shape[1:]), len(train.classes), widths=widths, seed=seed).to(device)
    for _ in train_classifier(model, Batches([train], batch=batch, seed=seed, device=device), steps=steps, lr=lr):
        pass
    return frozen("CNN", model, widths, steps, train)


def frozen(what, model, widths, steps, train):
    """The Judge that a trained model of one network is."""
    net = model.nets[0].requires_grad_(False).eval()
    digest, shape = digest_of(*net.state_dict().values())[:8], "-".join(map(str, widths))
    return Judge(f"{what} {shape}, {steps} steps on {len(train)} real images, {digest}", net)


def digest_of(*tensors, about=""):
    """sha256 of the bytes of tensors, and of a text."""
    digest = hashlib.sha256(about.encode())
    for tensor in tensors:
        digest.update(tensor.cpu().contiguous().numpy())
    return digest.hexdigest()


SHARED = {"batch": 512, "lr": 0.4, "weight_decay": 5e-4, "label_smoothing": 0.1}    # how the shared judge is trained


def shared_judge(settings, test, *, widths, steps, folder, device="cpu"):
    """The one Judge of all generators of a data set: an `Airbench` that learns from all its training images, of the
    split 0, whatever the generators learned from. It is trained once, and kept in `folder` by what it came from.

    settings: a training's config; test: its test Images. InputError where each split has other test images: the judge
    of one would have learned from those of another.
    """
    everything = load_for(dict(settings) | {"per_class": 0, "data_seed": 0})
    if not torch.equal(everything.test.images, test.images):
        raise InputError(f"judge='shared': each data_seed of {settings['dataset']!r} has test images of its own: "
                         "expected 'own'")
    train, seed = everything.train, 2**31 - 1               # no classifier under study has this seed
    model = Airbench(tuple(train.images.shape[1:]), len(train.classes), widths, seed=seed).to(device)
    augment = "flip and shift" if settings.get("flip") else "shift"
    about = f"{widths} {steps} {SHARED} {augment} {torch.__version__} {torch.device(device).type} "
    about += inspect.getsource(classifiers)
    name = f"judge-{digest_of(train.images, train.labels, about=about)[:16]}.safetensors"
    file = Path(folder) / name
    with FileLock(str(file.with_name(f".{name}.lock"))):       # another generation may be training it
        if not kept_weights(file, model):
            options = {name: value for name, value in SHARED.items() if name != "batch"}
            batches = Batches([train], batch=SHARED["batch"], seed=seed, device=device)
            trial = Airbench(tuple(train.images.shape[1:]), len(train.classes), widths, seed=seed).to(device)
            precision, _ = faster_precision(trial, batches, steps, options["label_smoothing"])
            for _ in train_classifier(model, batches, steps=steps, optimizer="nesterov", precision=precision,
                                      augment=augmentation(augment)[0], **options):
                pass
            save_tensors(file, model.state_dict(), {"steps": steps})
    return frozen("airbench", model, widths, steps, train)


def kept_weights(file, model):
    """Whether `file` had the weights of `model`, which has them now. A damaged one is set aside, with a warning."""
    if not file.exists():
        return False
    try:
        model.load_state_dict(load_tensors(file)[0])
    except DamagedError as error:
        set_aside(file, error, "the judge is trained again")
        return False
    return True


# ---------------------------------------------------------------- quality: Frechet distance
def frechet_distance(a, b):
    """Squared Frechet distance of two Gaussians with the moments of the features a (N, D) and b (M, D); N, M >= 2.

    |mu_a - mu_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)) (Dowson & Landau 1982). It falls as N and M grow, even between
    equal distributions, and compares only within one encoder. The trace of the root is the sum of the singular values
    of R_a R_b^T with S = R^T R from a QR decomposition: no root of a nearly singular matrix is taken.
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    if len(a) < 2 or len(b) < 2 or a.shape[1:] != b.shape[1:]:
        raise InputError(f"features of shape {a.shape} and {b.shape}: expected (N, D) and (M, D), N and M at least 2")
    roots = [np.linalg.qr(x - x.mean(0), mode="r") / (len(x) - 1) ** 0.5 for x in (a, b)]
    shift = np.square(a.mean(0) - b.mean(0)).sum()
    both = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    return max(0.0, float(shift + sum(np.square(r).sum() for r in roots) - 2 * both))


def frechet_reference(real, n, *, draws=5, seed=0):
    """Frechet distance of n real features to n others: (mean, sd) over random draws.

    Where a perfect generator lies, but no floor: one that makes the most common images only can get below it.

    InputError for fewer than 2n features.
    """
    if len(real) < 2 * n:
        raise InputError(f"n={n}: expected at most {len(real) // 2}, half of the {len(real)} real features")
    rng, distances = np.random.default_rng(seed), []
    for _ in range(draws):
        order = rng.permutation(len(real))
        distances.append(frechet_distance(real[order[:n]], real[order[n:2 * n]]))
    return float(np.mean(distances)), float(np.std(distances, ddof=1))


def frechet_beside_reference(real, synthetic, *, draws=5, seed=0):
    """{distance, distance_sd, reference, reference_sd, n}: synthetic to real features beside real to real, at one n.

    n: half of the real features or all synthetic ones, whichever is less; means over `draws` random subsets of n, and
    the standard deviations over these. real: of images that the judge was not trained on.
    """
    n, rng = min(len(real) // 2, len(synthetic)), np.random.default_rng((seed, 1))
    reference, reference_sd = frechet_reference(real, n, draws=draws, seed=seed)
    distances = [frechet_distance(*(x[rng.permutation(len(x))[:n]] for x in (real, synthetic))) for _ in range(draws)]
    return {"distance": float(np.mean(distances)), "distance_sd": float(np.std(distances, ddof=1)),
            "reference": reference, "reference_sd": reference_sd, "n": n}


# ---------------------------------------------------------------- variety: density and coverage
def density_and_coverage(real, synthetic, k=5):
    """How densely the synthetic features lie where real ones are, and which share of the real ones they reach.

    Naeem et al. 2020 (arXiv:2002.09797), with a ball around each real feature that reaches to its k-th neighbour:
    density is the mean number of balls that a synthetic feature is in, divided by k (1 for a perfect generator; more
    where it crowds); coverage the share (0..1) of balls that hold any. Coverage depends on the numbers of both: compare
    at equal numbers, or with `expected_coverage`. InputError for k or fewer real features.
    """
    real, synthetic = np.asarray(real, float), np.asarray(synthetic, float)
    if len(real) <= k:
        raise InputError(f"{len(real)} real features: expected more than k={k}")
    inside = []                                                             # synthetic ones in each real one's ball
    for part in np.array_split(real, len(real) // 1000 + 1):
        radius = np.partition(cdist(part, real), k, axis=1)[:, k:k + 1]     # of the k + 1 nearest one is itself
        inside.append((cdist(part, synthetic) < radius).sum(1))
    inside = np.concatenate(inside)
    return float(inside.sum() / (k * len(synthetic))), float((inside > 0).mean())


def expected_coverage(n, m, k=5):
    """Mean coverage of n real by m synthetic images of the same distribution, whatever it is (Naeem et al. 2020).

    1 - (n-1)...(n-k) / ((n+m-1)...(n+m-k)): of a real one's k nearest among all others, at least one is synthetic.
    """
    i = np.arange(1, k + 1)
    return float(1 - np.prod((n - i) / (n + m - i)))


def coverage_by_class(real, real_labels, synthetic, synthetic_labels, num_classes, k=5):
    """(coverage, density, expected coverage), each (K,), of each class's features among themselves.

    For a row of real images to compare with, pass held-out ones as `synthetic`. Errors as `density_and_coverage`.
    """
    rows = []
    for c in range(num_classes):
        a, b = real[np.asarray(real_labels) == c], synthetic[np.asarray(synthetic_labels) == c]
        density, coverage = density_and_coverage(a, b, k) if len(b) else (np.nan, 0.0)
        rows.append((coverage, density, expected_coverage(len(a), len(b), k)))
    return tuple(np.array(rows).T)


# ---------------------------------------------------------------- rightness
def class_agreement(judged, labels, num_classes):
    """Percent of each class's images that the judge gives the label they were made for; NaN without any. (K,)"""
    judged, labels = np.asarray(judged), np.asarray(labels)
    return np.array([100 * (judged[labels == k] == k).mean() if (labels == k).any() else np.nan
                     for k in range(num_classes)])


def label_judge(dataset, settings, judge, test):
    """Who judges labels: (function from images to labels (N,), its name, the percent of `test` that it gets right).

    The network `judge`; for digits the nearest of all real digits at any place of the canvas, a better one, whose
    accuracy on the test half is measured knowing the other half alone. settings: the training's canvas and data_seed.
    """
    if dataset != "digits":
        def judged(images):
            return judge.probabilities(images).argmax(1)
        return judged, judge.name, 100 * float((judged(test.images) == test.labels.numpy()).mean())
    known = load("digits", seed=settings["data_seed"]).train
    right = digit_oracle(settings["canvas"], known)(test.images) == test.labels
    return digit_oracle(settings["canvas"]), "nearest real digit", 100 * float(right.double().mean())


# ---------------------------------------------------------------- newness: copies of training images
def nearest_distance(images, reference, mirrored=False):
    """Root mean squared pixel difference (0..255) of each image to the nearest of `reference`; and which. (N,), (N,)

    A copy of a training image has distance near 0: compare with how far held-out real images are. mirrored: each image
    of `reference` counts as it is and as its mirror image, whichever is nearer.
    """
    a, b = (np.asarray(x).reshape(len(x), -1).astype(np.float32) for x in (images, reference))
    index, distance = nearest(a, b)
    distance = distance / np.sqrt(a.shape[1])
    if mirrored:
        other, index_of_other = nearest_distance(np.asarray(images)[..., ::-1], reference)
        distance, index = np.minimum(distance, other), np.where(other < distance, index_of_other, index)
    return distance, index


def memorised(synthetic, train, held_out, *, level=0.01):
    """Are synthetic Images closer to training images than new real ones are? By rms pixel distance (0..255), to the
    training images and to their mirror images: a network that learned from mirrored images copies them mirrored too.

    In each class apart, so that a mix of classes with more easy ones alarms nobody: the threshold is the j-th smallest
    distance of its m held-out images, j about `level` of them, and counts how many of its n synthetic ones lie under.
    If these are like the held-out ones the count is beta-binomial (n, j, m + 1 - j), whatever the distances'
    distribution (the precedence test: Nelson 1963); the sum over classes has the convolution of these. The threshold is
    itself a random draw, so a binomial test would alarm too often; this one needs nothing but images drawn alike.
    Classes of which one side has no image don't count. Smooth images are close to everything: see `verdict`.

    Returns {share: percent under their threshold; expected: its mean; threshold: mean over the classes; p: one-sided,
    exact; detectable: percent of copies at which the gate speaks, the others being like new ones; copies: number at
    most COPY from a training image; images}.
    """
    distance, new = (nearest_distance(x.images, train.images, mirrored=True)[0] for x in (synthetic, held_out))
    counts, thresholds, under, expected = np.ones(1), [], 0, 0.0        # counts[k]: chance of k under the threshold
    for k in range(len(train.classes)):
        mine, others = distance[synthetic.labels == k], np.sort(new[held_out.labels == k])
        n, m = len(mine), len(others)
        if not n or not m:
            continue
        j = max(1, round(level * (m + 1)))
        thresholds.append(others[j - 1])
        under += int((mine < others[j - 1]).sum())
        expected += n * j / (m + 1)
        counts = np.convolve(counts, stats.betabinom.pmf(np.arange(n + 1), n, j, m + 1 - j))
    tail, n = np.minimum(np.cumsum(counts[::-1])[::-1], 1), len(counts) - 1        # tail[k]: chance of k or more
    speaks = int((tail >= ALARM).sum())                                            # the smallest count with an alarm
    return {"share": 100 * under / n, "expected": 100 * expected / n, "threshold": float(np.mean(thresholds)),
            "p": float(tail[under]), "detectable": min(100.0, 100 * (speaks - expected) / (n - expected)),
            "copies": int((distance <= COPY).sum()), "images": len(distance)}


def verdict(gate, control):
    """The gate in words. gate: memorised(synthetic, train, held_out); control: memorised(synthetic, held_out, train).

    The control swaps the roles: no generator can have copied images that it never saw.
    "copies": some images are training images. "too close": to training images only (p < ALARM). "undecided": too close
    to images never seen as well, as smooth ones are: look at `nearest_pairs`. "none found" otherwise.
    """
    if gate["copies"]:
        return "copies"
    if gate["p"] >= ALARM:
        return "none found"
    return "undecided" if control["p"] < ALARM else "too close"


def memorisation(synthetic, train, held_out):
    """`memorised` with its verdict: the values of a lib.report.results.Memorisation."""
    gate, control = memorised(synthetic, train, held_out), memorised(synthetic, held_out, train)
    return {"verdict": verdict(gate, control)} | gate


def nearest_pairs(synthetic, train, held_out, rows=8):
    """The `rows` synthetic images closest to a training image, closest first, for a picture beside their neighbours.

    Returns {synthetic, train, held_out: positions of the image and its nearest, (rows,); to_train, to_held_out: rms
    distances}, each way round. A copy is near one training image and far from every held-out one; a smooth image is
    near both.
    """
    to_train, index = nearest_distance(synthetic, train, mirrored=True)
    chosen = np.argsort(to_train, kind="stable")[:rows]
    to_held_out, other = nearest_distance(synthetic[chosen], held_out, mirrored=True)
    return {"synthetic": chosen, "train": index[chosen], "held_out": other,
            "to_train": to_train[chosen], "to_held_out": to_held_out}


# ---------------------------------------------------------------- newness: test images
def check_no_leak(images, test, *, what, names=None):
    """Raise LeakedTest if an image is at most COPY (rms, grey levels) from a test image or its mirror image. what: the
    images' name; names: of each."""
    closest, mirrored = near(images, test), near(images.flip(-1), test)
    closest = np.where(closest >= 0, closest, mirrored)
    leaked = np.flatnonzero(closest >= 0)
    if len(leaked):
        first = names[leaked[0]] if names else f"image {leaked[0]}"
        raise LeakedTest(f"{len(leaked)} of {len(images)} images of {what} are test images (at most {COPY:g} grey "
                         f"level apart, as they are or mirrored), the first is {first}, test image "
                         f"{closest[leaked[0]]}")


# ---------------------------------------------------------------- FID proper
def fid(real, synthetic):
    """FID of uint8 images by torch-fidelity (Inception 2015 features); downloads weights, so only when asked for.

    Grey images are repeated as RGB. InputError where torch-fidelity is not installed.
    """
    try:
        import torch_fidelity
    except ImportError:
        raise InputError("FID needs the package torch-fidelity: pip install torch-fidelity "
                         "(it downloads Inception weights)") from None
    rgb = [x.cpu().expand(-1, 3, -1, -1) for x in (real, synthetic)]
    a, b = (torch.utils.data.Subset(x, range(len(x))) for x in rgb)        # a Dataset of tensors, as it expects
    scores = torch_fidelity.calculate_metrics(input1=a, input2=b, fid=True, cuda=torch.cuda.is_available(),
                                              save_cpu_ram=True, verbose=False)
    return float(scores["frechet_inception_distance"])
