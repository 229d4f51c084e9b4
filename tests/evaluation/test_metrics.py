"""Names are honest, and params.yaml knows them."""

from __future__ import annotations

import re
from typing import get_args

from lvdm.evaluation.metrics import ALWAYS, METRICS
from lvdm.evaluation.weights import NETWORKS
from lvdm.params import Evaluate

TRUE_NETWORK = {"fvd": "i3d", "kvd": "i3d", "fid": "inception", "kid": "inception", "clipsim": "clip"}


def test_only_the_true_network_bears_the_name_of_the_literature() -> None:
    for key, metric in METRICS.items():
        if key in TRUE_NETWORK:
            assert metric.features == TRUE_NETWORK[key]
        else:
            assert not re.search("fvd|fid|kvd|kid|clipsim|lpips", key)
            claims = re.sub("NOT (FVD|FID|KID)", "", metric.title)
            assert not re.search("FVD|FID|KVD|KID|CLIPSIM|LPIPS", claims)


def test_every_stand_in_with_a_network_says_that_it_is_one() -> None:
    for key, metric in METRICS.items():
        if metric.features in ("tn2", "efflite0"):
            assert "stand-in; NOT" in metric.title, key


def test_params_accept_exactly_the_metrics_that_can_be_asked_for() -> None:
    (names, _) = get_args(Evaluate.model_fields["metrics"].annotation)
    assert set(get_args(names)) == set(METRICS) - set(ALWAYS)


def test_every_metric_runs_on_a_network_that_is_known_or_needs_none() -> None:
    assert {metric.features for metric in METRICS.values()} <= {*NETWORKS, "motion", "static"}
