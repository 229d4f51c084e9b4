"""The sections of params.yaml, in the order of the picture: what each stage can be told.

Not here: the file as a whole and its named entries; those are in the package itself. This module imports no torch.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from lvdm.params.layouts import Layout
from lvdm.section import Count, Fraction, Positive, Section, Whole, distinct

NonNegative = Annotated[float, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
MAX_WINDOW = 256  # latents that a denoiser can tell the order of


class Transcode(Section):
    """Every video written once more at ingest, to be read fast: small, with a key frame every few frames."""

    size: Count  # of the shorter side, pixels; what is smaller stays so
    keyframe_interval: Count  # frames
    crf: Annotated[int, Field(ge=0, le=51)]  # of H.264: 0 loses nothing but colour resolution, 16 is hard to see


class Ingest(Section):
    source: Annotated[str, Field(min_length=1)]  # builtin, freedoom-walk, a folder, or s3://bucket/prefix
    layout: Layout
    test_fraction: Fraction  # of the videos whose split no table names
    seed: Seed
    transcode: Transcode | None = None


class Clips(Section):
    """The geometry that every network sees."""

    frames: Annotated[int, Field(ge=2)]  # frames of a training clip
    size: Annotated[int, Field(ge=16, multiple_of=2)]  # pixels a side: shorter side resized, centre cropped
    stride: Count  # every n-th frame of the video

    @property
    def span(self) -> int:
        """Frames of the video from the first frame of a clip to its last."""
        return (self.frames - 1) * self.stride + 1


class AutoencoderNetwork(Section):
    kind: Literal["causal", "identity"]  # identity: the denoiser works on pixels, which is VDM
    time_factor: Literal[1, 2, 4]
    space_factor: Literal[1, 2, 4, 8]
    latent_channels: Count
    channels: Annotated[tuple[Count, ...], Field(min_length=1)]  # from the finest level to the coarsest
    encoder_blocks: Count  # residual blocks a level
    decoder_blocks: Count

    def latent_shape(self, side: int) -> tuple[int, int, int]:
        """(c, h, w) of a latent of frames of `side` pixels."""
        return self.latent_channels, side // self.space_factor, side // self.space_factor

    @model_validator(mode="after")
    def _possible(self) -> AutoencoderNetwork:
        if self.kind == "identity":
            if (self.time_factor, self.space_factor, self.latent_channels) != (1, 1, 3):
                raise ValueError("time_factor 1, space_factor 1 and latent_channels 3 with kind identity")
        elif 2 ** (len(self.channels) - 1) > max(self.time_factor, self.space_factor):
            factor = max(self.time_factor, self.space_factor)
            most = f"at most {factor.bit_length()} numbers in channels, not {len(self.channels)}"
            raise ValueError(f"{most}: each after the first halves, and no factor is above {factor}")
        return self


class PerceptualTerm(Section):
    network: Literal["pd_efflite0", "lpips"]  # lpips needs VGG-16: `lvdm weights`
    weight: Positive


class EquivarianceTerm(Section):
    """A latent downsampled should decode to the clip downsampled: scale equivariance, arXiv 2502.14831."""

    factors: Annotated[  # of height and width, all at every step
        tuple[Literal[2, 4, 8], ...], Field(min_length=1), AfterValidator(distinct)
    ]
    weight: Positive


class AdversarialTerm(Section):
    """A patch discriminator whose term is weighted by the ratio of gradients, as in VQGAN, arXiv 2012.09841."""

    channels: Annotated[int, Field(gt=0, multiple_of=8)]  # of the discriminator, at its finest level
    start: Whole  # step that it begins at
    weight: Positive


class AutoencoderObjective(Section):
    reconstruction: Literal["l1", "l2", "l1+l2"]
    kl_weight: NonNegative
    perceptual: PerceptualTerm | None
    equivariance: EquivarianceTerm | None
    adversarial: AdversarialTerm | None


class Training(Section):
    steps: Count
    batch_size: Count  # clips or windows a device and pass
    accumulate: Count  # passes a step: a step sees accumulate x batch_size x devices examples
    learning_rate: Positive
    warmup_steps: Whole
    decay: Literal["cosine", "constant"]  # of the learning rate, after the warm-up
    gradient_clip: Positive
    ema_decay: Annotated[float, Field(ge=0, lt=1)]
    checkpoint_every: Count  # steps between two states that a killed run resumes from
    validate_every: Whole  # steps between two validations, and at the end; 0: none
    validation_examples: Count  # held-out clips or windows, always the same
    seed: Seed

    def examples_a_step(self, devices: int) -> int:
        """Clips or windows, over all devices and accumulated passes."""
        return self.accumulate * self.batch_size * devices


class TrainAutoencoder(Section):
    network: AutoencoderNetwork
    objective: AutoencoderObjective
    training: Training

    @model_validator(mode="after")
    def _all_has_effect(self) -> TrainAutoencoder:
        adversarial = self.objective.adversarial
        if adversarial is not None and adversarial.start >= self.training.steps:
            raise ValueError("objective.adversarial.start below training.steps, or objective.adversarial of null")
        return self


class EncodeLatents(Section):
    chunk_frames: Count  # frames encoded at once: bounds the memory, changes the last bits of the latents at most
    shard_megabytes: Count
    flip: bool  # training videos are there mirrored left to right too, and training draws either


class TextEncoder(Section):
    """A frozen network that reads texts: minilm comes by `lvdm weights`, clip and t5 lie in a folder of yours."""

    encoder: Literal["minilm", "clip", "t5"]
    folder: str | None = None  # of clip and t5, in the format of transformers; relative to the workspace, or on s3://

    @model_validator(mode="after")
    def _found(self) -> TextEncoder:
        if (self.folder is None) != (self.encoder == "minilm"):
            raise ValueError("a folder with clip and t5, and none with minilm")
        return self


class DenoiserNetwork(Section):
    channels: Count  # at the finest level
    channel_multipliers: Annotated[tuple[Count, ...], Field(min_length=1)]
    num_blocks: Count  # residual blocks a level
    attention_levels: tuple[Whole, ...]  # levels with attention, 0 the finest
    head_channels: Count
    temporal_convolution: bool
    condition: Literal["none", "label", "text"]
    text: TextEncoder | None = None  # with condition: text, what reads it

    @model_validator(mode="after")
    def _possible(self) -> DenoiserNetwork:
        if any(level >= len(self.channel_multipliers) for level in self.attention_levels):
            raise ValueError("attention_levels below the number of channel_multipliers")
        widths = [self.channels * self.channel_multipliers[level] for level in self.attention_levels]
        if self.head_channels % 2 or any(width % self.head_channels for width in widths):
            raise ValueError("even head_channels that divide the channels of every level with attention")
        if self.channels % 2:
            raise ValueError("an even number of channels")
        if (self.text is not None) != (self.condition == "text"):
            raise ValueError("a text encoder under text with condition: text, and with no other condition")
        if self.condition == "text" and not self.attention_levels:
            raise ValueError("attention_levels with condition: text, which enters by attention")
        return self


class Tasks(Section):
    """How often training asks for each task; the rest is unconditional, which every video begins with."""

    predict: Fraction
    interpolate: Fraction
    independent: Fraction  # every frame at a level of its own (diffusion forcing, arXiv 2407.01392)

    @model_validator(mode="after")
    def _a_rest_is_unconditional(self) -> Tasks:
        if self.predict + self.interpolate + self.independent >= 1:
            raise ValueError("predict + interpolate + independent below 1: the rest is unconditional")
        return self


class TrainedPerturbation(Section):
    """Conditional latent perturbation as trained: given frames at a level drawn from [0, max_level)."""

    max_level: Annotated[float, Field(ge=0, lt=1)]
    alpha: NonNegative  # the seed's z + alpha * Perturb(c); 0 is the paper


class DenoiserObjective(Section):
    schedule: Literal["cosine", "scaled_linear"]
    prediction: Literal["v", "eps", "x0"]
    loss: Literal["l1", "l2"]
    min_snr_gamma: Positive | None  # null: no weighting
    tasks: Tasks
    max_given: Count  # prediction is trained with 1 to max_given given latents; sampling gives `overlap` of them
    perturbation: TrainedPerturbation
    raise_given: Fraction  # of the windows with given frames: these raised to the top level
    drop_condition: Fraction  # of the windows: label or text dropped; it always is where given frames are raised

    @model_validator(mode="after")
    def _eps_needs_signal(self) -> DenoiserObjective:
        if self.prediction == "eps" and self.schedule == "cosine":
            raise ValueError("v or x0 with the cosine schedule: at zero terminal SNR eps says nothing of the video")
        return self


class TrainDenoiser(Section):
    window: Annotated[int, Field(ge=2, le=MAX_WINDOW)]  # latents that the network sees at once
    strides: Annotated[tuple[Count, ...], Field(min_length=1)]  # between the latents of a window, finest first
    separate_interpolator: bool  # gaps have a network of their own, as in the paper; false: one network does all
    network: DenoiserNetwork
    objective: DenoiserObjective
    training: Training

    @model_validator(mode="after")
    def _consistent(self) -> TrainDenoiser:
        if self.strides[0] != 1 or list(self.strides) != sorted(set(self.strides)):
            raise ValueError("strides that begin with 1 and rise")
        if not self.network.temporal_convolution and not self.network.attention_levels:
            raise ValueError("network.temporal_convolution or network.attention_levels: else no frame sees another")
        if self.network.condition == "none" and self.objective.drop_condition > 0:
            raise ValueError("objective.drop_condition of 0 with condition: none, which has nothing to drop")
        if self.objective.max_given >= self.window:
            raise ValueError(f"objective.max_given below window {self.window}, not {self.objective.max_given}")
        if self.objective.tasks.interpolate > 0 and self.window < 3:
            raise ValueError("a window of at least 3 to interpolate, or objective.tasks.interpolate of 0")
        if self.separate_interpolator and (self.objective.tasks.interpolate == 0 or len(self.strides) == 1):
            raise ValueError("objective.tasks.interpolate above 0 and several strides with separate_interpolator")
        if any(coarse != fine * (self.window - 1) for fine, coarse in pairwise(self.strides)):
            whole = [(self.window - 1) ** i for i in range(len(self.strides))]
            raise ValueError(
                f"strides each window - 1 times the one before, so that a gap is a window: {whole} with window "
                f"{self.window}, not {list(self.strides)}"
            )
        return self

    @property
    def span(self) -> int:
        """Latents from the first of a window at the largest stride to its last, both counted."""
        return (self.window - 1) * self.strides[-1] + 1


class Sample(Section):
    sampler: Literal["ddpm", "ddim", "dpmpp2m"]
    steps: Count
    eta: Fraction  # of DDIM: 0 deterministic, 1 as noisy as DDPM
    guidance: Annotated[float, Field(ge=-1)]  # w of unconditional guidance: 0 conditional, -1 unconditional if u is 0
    condition_guidance: Annotated[float, Field(ge=-1)]  # u: the same for the label or the text
    perturbation_level: Annotated[float, Field(ge=0, lt=1)]  # s of the given frames
    num_clips: Count
    num_long_videos: Count
    long_frames: Count
    scheme: Literal["hierarchical", "autoregressive"]
    overlap: Count  # latents given when a sequence is extended
    refine_strength: Fraction  # 1: gaps start from noise (paper); 0: gaps are their ends interpolated
    batch_size: Count  # windows denoised at once
    fps: Annotated[float, Field(ge=0.1, le=1000)]  # of the mp4 files
    seed: Seed

    @model_validator(mode="after")
    def _all_has_effect(self) -> Sample:
        if self.eta > 0 and self.sampler != "ddim":
            raise ValueError(f"eta 0 with {self.sampler}: eta is of ddim alone")
        if (both := round(self.guidance + self.condition_guidance, 9)) < -1:
            raise ValueError(f"guidance + condition_guidance of at least -1, not {both:g}")
        return self


class Night(Section):
    """What is measured again by the clock."""

    hour: Annotated[int, Field(ge=0, le=23)] = 2  # UTC
    refresh_days: Count = 7  # a promoted experiment that did not change is measured anew after so many days
    max_hours: Positive = 6.0  # a night that takes longer is ended
