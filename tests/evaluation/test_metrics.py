"""Names are honest, and params.yaml knows them."""

from __future__ import annotations

import re

import pytest

from lvdm.errors import ParamsError
from lvdm.evaluation.metrics import ALWAYS, METRICS
from lvdm.models.pretrained import NETWORKS
from lvdm.params import Evaluate
from lvdm.section import parse

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


def test_params_accept_every_metric_and_answer_an_unknown_one_with_the_list() -> None:
    document = {"metrics": list(METRICS), "num_clips": 8, "seed": 0, "protocol": "small", "max_drift": 0.5}
    assert parse(Evaluate, document, "evaluate").metrics == tuple(METRICS)
    with pytest.raises(ParamsError, match=r"evaluate\.metrics\.0: expected one of fd_tn2, .*, got 'fud'"):
        parse(Evaluate, document | {"metrics": ["fud"]}, "evaluate")


def test_what_always_runs_needs_no_network() -> None:
    assert all(METRICS[key].features not in NETWORKS for key in ALWAYS)


def test_every_metric_runs_on_a_network_that_is_known_or_needs_none() -> None:
    assert {metric.features for metric in METRICS.values()} <= {*NETWORKS, "motion", "static", "sprites"}
