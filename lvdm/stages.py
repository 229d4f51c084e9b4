"""The ground floor: one function a box of the picture, in order.

    ingest -> validate -> train_autoencoder -> encode_latents -> train_denoiser -> sample -> evaluate -> compare

A stage reads its inputs, calls the rooms that do the work, writes its artefact in one piece and says what came out.
Not here: how anything is computed. Whoever runs a stage calls lvdm.run.run_stage, which also writes its report.
"""

from __future__ import annotations

from lvdm import making, reports
from lvdm.comparison.leaderboard import write_leaderboard
from lvdm.data.clips import TrainingClips, fixed_clips
from lvdm.data.expectations import validate_manifest
from lvdm.data.ingest import build_manifest, read_manifest
from lvdm.data.latents import LatentCache, LatentWindows, write_latents
from lvdm.data.samples import SampleSet, write_samples
from lvdm.diffusion.sampling import DenoiserSpec, sample_videos
from lvdm.evaluation import sets
from lvdm.evaluation.drift import measure_drift
from lvdm.evaluation.protocol import Protocol, measure
from lvdm.evaluation.reconstruction import measure_reconstruction
from lvdm.models.checkpoint import TrainedDenoiser, load_autoencoder, load_denoiser, save_autoencoder, save_denoiser
from lvdm.params import Params
from lvdm.provenance import scratch_of
from lvdm.training.autoencoder import train_autoencoder as fit_autoencoder
from lvdm.training.denoiser import train_denoiser as fit_denoiser
from lvdm.workspace import Report, Workspace, atomic_folder


def ingest(params: Params, workspace: Workspace, name: str) -> Report:
    manifest = build_manifest(params.ingest, workspace)
    return reports.of_ingest(manifest, params, workspace)


def validate(params: Params, workspace: Workspace, name: str) -> Report:
    manifest = read_manifest(workspace.manifest)
    validation = validate_manifest(manifest, params.validate_, params.clips, workspace)
    report = reports.of_validate(validation, workspace)
    if validation.failure:
        report.write(workspace)
        raise validation.failure
    return report


def train_autoencoder(params: Params, workspace: Workspace, name: str) -> Report:
    settings, manifest = params.autoencoder(name), read_manifest(workspace.validated)
    clips = TrainingClips(manifest, params.clips, workspace.root, settings.training.seed)
    scratch = scratch_of("train_autoencoder", params, workspace, name)
    autoencoder, history = fit_autoencoder(clips, settings, workspace.machine, scratch)
    with atomic_folder(workspace.autoencoder(name)) as folder:
        save_autoencoder(folder, autoencoder, settings)
    held_out = manifest[manifest["split"] == "test"]
    pictured = fixed_clips(held_out, params.clips, workspace.root, min(len(held_out), 16), seed=0)
    quality = measure_reconstruction(autoencoder.to(workspace.machine.device), pictured)
    return reports.of_train_autoencoder(name, autoencoder, history, quality, workspace)


def encode_latents(params: Params, workspace: Workspace, name: str) -> Report:
    autoencoder = load_autoencoder(workspace.autoencoder(name)).to(workspace.machine.device)
    manifest = read_manifest(workspace.validated)
    chunk_frames, megabytes = params.encode_latents.chunk_frames, params.encode_latents.shard_megabytes
    videos = making.encoded(autoencoder, manifest, params.clips, workspace, chunk_frames)
    write_latents(workspace.latents(name), videos, megabytes, meta={"autoencoder": name})
    return reports.of_encode_latents(name, LatentCache(workspace.latents(name)))


def train_denoiser(params: Params, workspace: Workspace, name: str) -> Report:
    experiment = params.experiment(name)
    settings, cache = experiment.train_denoiser, LatentCache(workspace.latents(experiment.autoencoder))
    windows = LatentWindows(cache, settings.window, settings.strides, settings.training.seed)
    labels = cache.labels if settings.network.condition == "label" else ()
    scratch = scratch_of("train_denoiser", params, workspace, name)
    denoiser, history = fit_denoiser(windows, settings, cache.shape[0], labels, workspace.machine, scratch)
    with atomic_folder(workspace.denoiser(name)) as folder:
        save_denoiser(folder, TrainedDenoiser(denoiser, settings, labels, experiment.autoencoder))
    return reports.of_train_denoiser(name, denoiser, history, workspace)


def sample(params: Params, workspace: Workspace, name: str) -> Report:
    experiment, device = params.experiment(name), workspace.machine.device
    trained = load_denoiser(workspace.denoiser(name))
    autoencoder = load_autoencoder(workspace.autoencoder(experiment.autoencoder)).to(device)
    wanted = making.samples_to_make(params, name, trained.labels)
    requests = [making.as_request(s, trained.labels, autoencoder.config.time_factor) for s in wanted]
    side = params.clips.size // autoencoder.config.space_factor
    spec = DenoiserSpec(trained.params, len(trained.labels), (trained.network.latent_channels, side, side))
    scratch = scratch_of("sample", params, workspace, name)
    with workspace.machine.autocast():
        latents = sample_videos(trained.network.to(device), spec, experiment.sample, requests, scratch)
        videos = ((s, making.decoded(autoencoder, latent)) for s, latent in zip(wanted, latents, strict=True))
        with atomic_folder(workspace.samples(name)) as folder:
            write_samples(folder, videos, experiment.sample.fps)
    return reports.of_sample(name, SampleSet(workspace.samples(name)), experiment.sample.fps, workspace)


def evaluate(params: Params, workspace: Workspace, name: str) -> Report:
    samples, manifest = SampleSet(workspace.samples(name)), read_manifest(workspace.validated)
    protocol = Protocol.of(params)
    real, fake = sets.real_clips(manifest, protocol, workspace.root), sets.fake_clips(samples)
    result = measure(real, fake, protocol, params.evaluate.metrics, workspace, workspace.machine.device)
    drift = sets.drift_of(samples, manifest, params, workspace)
    result.with_drift(drift).write(workspace.metrics(name))
    return reports.of_evaluate(name, result, drift, workspace)


def compare(params: Params, workspace: Workspace, name: str) -> Report:
    board = write_leaderboard(params, workspace)
    return reports.of_compare(board, workspace)
