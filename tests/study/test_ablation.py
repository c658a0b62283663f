"""Whether a limit on the estimated image was needed, from made-up label agreements."""
import itertools
from types import SimpleNamespace

import pytest

from lib.study import ablation
from lib.study.results import Estimate


def generators(without_limit, images=200):
    """Two schedules, two targets, each without a limit and clipped: 90 % label agreement but where the test says other."""
    for schedule, target, x0 in itertools.product(("linear", "cosine"), ("eps", "v"), ("none", "clip")):
        agreement = without_limit.get((schedule, target), 90) if x0 == "none" else 90
        result = SimpleNamespace(images=images, label_agreement=Estimate(agreement), pixel_spread=1.5)
        yield ({"schedule": schedule, "target": target},
               {"train_run": f"{schedule}-{target}", "sampler": "ancestral", "sample_steps": 50, "x0_handling": x0}, result)


@pytest.mark.parametrize("without_limit, verdict", [
    ({("cosine", "eps"): 20}, "survives"),
    ({("cosine", "eps"): 20, ("linear", "eps"): 20}, "does not survive"),        # linear fails as well
    ({}, "does not survive"),                                                    # nothing is lost
    ({("cosine", "eps"): 84}, "undecided"),                                      # 6 points: neither clear nor small
])
def test_the_hypothesis_is_judged_by_what_is_lost_without_a_limit(without_limit, verdict):
    assert ablation.limit_verdict(ablation.walks(generators(without_limit))) == verdict


def test_without_the_walks_that_decide_there_is_no_verdict():
    walks = ablation.walks(generators({("cosine", "eps"): 20}))
    assert ablation.limit_verdict([w for w in walks if w.schedule == "cosine"]) == ""
    assert ablation.walks(list(generators({}))[::2]) == ()           # none was clipped


def test_a_walk_is_of_one_network_and_of_several_each_counts():
    first, second = (list(generators({("cosine", "eps"): agreement})) for agreement in (20, 88))
    for _, sample, _ in second:
        sample["train_run"] += ".1"
    walks = ablation.walks(first + second)
    assert [round(w.lost.value) for w in walks if (w.schedule, w.target) == ("cosine", "eps")] == [70, 2]
    assert len(walks) == 8 and ablation.limit_verdict(walks) == "does not survive"
    mixed = [made for made in first if made[1]["x0_handling"] == "none"] + [made for made in second if made[1]["x0_handling"] == "clip"]
    assert ablation.walks(mixed) == ()


def test_what_a_walk_lost_is_newcombes_interval():
    walk = next(w for w in ablation.walks(generators({("cosine", "eps"): 20})) if (w.schedule, w.target) == ("cosine", "eps"))
    assert walk.lost.value == 70 and walk.lost.low < 70 < walk.lost.high and walk.lost.n == 200
    assert (walk.sampler, walk.steps, walk.free.value, walk.clipped.value) == ("ancestral", 50, 20, 90)
