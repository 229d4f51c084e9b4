"""The ground floor: one function a box of the picture, in order.

    ingest -> validate -> train_autoencoder -> encode_latents -> train_denoiser -> sample -> evaluate -> compare

A stage reads its inputs, calls the rooms that do the work, writes its artefact in one piece and says what came out.
Each imports only the rooms it enters, inside: Lightning alone takes seconds to load.
Not here: how anything is computed. Whoever runs a stage calls lvdm.run.run_stage, which also writes its report.
"""

from __future__ import annotations

from dataclasses import replace

from lvdm.params import Params
from lvdm.provenance import scratch_of
from lvdm.report import Report
from lvdm.workspace import Workspace, atomic_folder


def ingest(params: Params, workspace: Workspace, name: str) -> Report:
    from lvdm import reporting
    from lvdm.data.ingest import build_manifest

    manifest = build_manifest(params.ingest, workspace)
    return reporting.of_ingest(manifest, workspace)


def validate(params: Params, workspace: Workspace, name: str) -> Report:
    from lvdm import reporting
    from lvdm.data.data_report import write_data_report
    from lvdm.data.manifest import read_manifest
    from lvdm.data.validation import validate_manifest
    from lvdm.data.versions import accepted_version

    manifest, accepted = read_manifest(workspace.manifest), accepted_version(workspace)
    validation = validate_manifest(manifest, params.validate_, params.clips, workspace, accepted)
    write_data_report(validation, manifest, params.ingest.source, workspace)
    report = reporting.of_validate(validation, workspace)
    if validation.failure:
        report.write(workspace)
        raise validation.failure
    return report


def train_autoencoder(params: Params, workspace: Workspace, name: str, resume: bool = False) -> Report:
    from lvdm import reporting
    from lvdm.data.clips import TrainingClips, fixed_clips
    from lvdm.data.manifest import read_manifest
    from lvdm.evaluation.perceptual import load_perceptual
    from lvdm.evaluation.reconstruction import measure_reconstruction
    from lvdm.models.checkpoint import AutoencoderRecord, save_autoencoder, trained_with
    from lvdm.training import autoencoder as training

    settings, manifest = params.autoencoder(name), read_manifest(workspace.validated)
    clips = TrainingClips(manifest, params.clips, workspace.root, settings.training.seed)
    term, test = settings.objective.perceptual, manifest[manifest["split"] == "test"]
    perceptual = load_perceptual(term.network, workspace) if term else None
    num_held_out = min(len(test), settings.training.validation_examples)
    held_out = [{"frames": frames} for frames in fixed_clips(test, params.clips, workspace.root, num_held_out, seed=0)]
    scratch = scratch_of("train_autoencoder", params, workspace, name, resume=resume)
    autoencoder, history = training.train_autoencoder(clips, settings, workspace.machine, scratch, perceptual, held_out)
    record = AutoencoderRecord(settings, trained_with(settings.training, workspace.machine))
    with atomic_folder(workspace.autoencoder(name)) as folder:
        save_autoencoder(folder, autoencoder, record)
    autoencoder.to(workspace.machine.device)
    quality = measure_reconstruction(autoencoder, (example["frames"] for example in held_out), workspace)
    return reporting.of_train_autoencoder(name, autoencoder, history, quality, workspace)


def encode_latents(params: Params, workspace: Workspace, name: str) -> Report:
    from lvdm import caching, reporting

    return reporting.of_encode_latents(name, caching.cache_latents(params, workspace, name))


def train_denoiser(params: Params, workspace: Workspace, name: str, resume: bool = False) -> Report:
    from lvdm import prompting, reporting
    from lvdm.data.latents import LatentCache
    from lvdm.equal_work import take_denoiser
    from lvdm.freshness import check_current
    from lvdm.models.checkpoint import TrainedDenoiser, save_denoiser, trained_with
    from lvdm.training import denoiser as training

    experiment = params.experiment(name)
    settings, cache = experiment.train_denoiser, LatentCache(workspace.latents(experiment.autoencoder))
    check_current(cache, params, workspace, experiment.autoencoder)
    cache.verify()
    prompts = prompting.training_prompts(settings.network, cache, workspace)
    if taken := take_denoiser(params, workspace, name, prompts.vocabulary):
        return taken
    encoder = {"text encoder": prompts.vocabulary.text_encoder}
    scratch = scratch_of("train_denoiser", params, workspace, name, resume=resume, beside=encoder)
    networks = training.train_networks(cache, settings, prompts, workspace.machine, scratch)
    in_turn = prompting.prompts_in_turn(settings.network, cache)
    beside = trained_with(settings.training, workspace.machine)
    record = settings, cache.shape, prompts.vocabulary, in_turn, cache.made_by, beside
    trained = TrainedDenoiser(*record, networks.network, networks.interpolator)
    with atomic_folder(workspace.denoiser(name)) as folder:
        save_denoiser(folder, trained)
    return reporting.of_train_denoiser(name, networks, workspace)


def sample(params: Params, workspace: Workspace, name: str, resume: bool = False) -> Report:
    from lvdm import making, reporting
    from lvdm.data.samples import SampleSet, gather_samples
    from lvdm.models.checkpoint import read_denoiser_record

    scratch = scratch_of("sample", params, workspace, name, resume=resume)
    fps = params.experiment(name).sample.fps
    wanted = making.samples_to_make(params, name, read_denoiser_record(workspace.denoiser(name)).prompts)
    making.make_samples(wanted, params, workspace, name, scratch)
    with atomic_folder(workspace.samples(name)) as folder:
        gather_samples(folder, making.made_below(scratch), wanted, making.made_with(params, workspace, name))
    return reporting.of_sample(name, SampleSet(workspace.samples(name)), fps, workspace)


def evaluate(params: Params, workspace: Workspace, name: str) -> Report:
    from lvdm import reporting
    from lvdm.data.manifest import read_manifest
    from lvdm.data.samples import SampleSet
    from lvdm.evaluation import long_videos, measuring, sets
    from lvdm.evaluation.protocol import protocol_of

    samples, manifest = SampleSet(workspace.samples(name)), read_manifest(workspace.validated)
    rules, asked = protocol_of(params), params.evaluate.metrics
    reals = sets.real_clips(manifest, rules, workspace.root, sets.asked_by(samples))
    fake = sets.fake_clips(samples, rules)
    result = measuring.evaluate(reals, fake, rules, asked, workspace)
    long = long_videos.measure_long_videos(samples, manifest, params, workspace, reals[rules.split])
    result = replace(long.added_to(result, asked), made_with=samples.made_with | {"clips": samples.digest})
    result.write(workspace.metrics(name))
    return reporting.of_evaluate(name, result, long.drift, params.evaluate.max_drift, workspace)


def compare(params: Params, workspace: Workspace, name: str) -> Report:
    from lvdm import reporting
    from lvdm.comparison.leaderboard import summary, write_leaderboard

    board = write_leaderboard(params, workspace)
    return reporting.of_compare(board, summary(board, params.ingest.source), workspace)
