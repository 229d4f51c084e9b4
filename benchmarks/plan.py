"""The memory of training that `lvdm plan` counts without a GPU, against what it measures: within 15 % is the goal.

    python -m benchmarks.plan                # the preset `reference` on a GPU, as set, and half of the batch
    python -m benchmarks.plan --size tiny    # on a CPU

Both in bfloat16, nothing compiled, without the optional terms of the autoencoder; on a CPU what torch allocates is
measured by its profiler. Not here: the counting and the measuring, which are `lvdm plan`'s own.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks import untrained
from lvdm.machine import Machine
from lvdm.params import Params
from lvdm.planning import plan
from lvdm.planning.needs import GIB, Need
from lvdm.workspace import Workspace


def needs(params: Params, workspace: Workspace, measured: bool) -> dict[str, tuple[int, dict[bool, Need]]]:
    """By stage: the batch size that is set, and the needs without and with recomputing."""
    autoencoder, experiment = next(iter(params.autoencoders)), next(iter(params.experiments))
    settings, train = params.autoencoder(autoencoder), params.experiment(experiment).train_denoiser
    alone = settings.objective.model_copy(update={"perceptual": None, "adversarial": None, "equivariance": None})
    settings = settings.model_copy(update={"objective": alone})
    latent = plan.latent_shape(params, experiment)
    count, take = plan.counted_autoencoder, plan.autoencoder_needs
    of_denoiser = plan.denoiser_needs if measured else plan.counted_denoiser
    return {
        "autoencoder": (
            settings.training.batch_size,
            take(settings, params, workspace) if measured else count(settings, params),
        ),
        "denoiser": (train.training.batch_size, of_denoiser(train, latent, workspace)),
    }


def main(arguments: list[str] | None = None) -> list[float]:
    """Prints a row a stage, with recomputing and without, and batch size; returns counted / measured of each."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    untrained.add_sizes(options)
    params, ratios = untrained.params_of(options.parse_args(arguments)), list[float]()
    print("| GiB | counted | measured | counted / measured |", "|---" * 4 + "|", sep="\n", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder), Machine(precision="bf16-mixed"))
        counted, measured = (needs(params, workspace, how) for how in (False, True))
    for stage, (batch_size, of_stage) in counted.items():
        for again, need in of_stage.items():
            for size in (batch_size, max(1, batch_size // 2)):
                here, there = (n.bytes.at(size) for n in (need, measured[stage][1][again]))
                ratios.append(here / there)
                recomputed = ", recomputed" if again else ""
                print(f"| {stage}, {size}{recomputed} | {here / GIB:.3g} | {there / GIB:.3g} | {here / there:.2f} |")
    return ratios


if __name__ == "__main__":
    main()
