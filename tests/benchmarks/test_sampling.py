"""Videos are made by the fast path and by the plain one, which agree, and decoding is measured at several lengths."""

from __future__ import annotations

from benchmarks import networks, sampling, untrained
from lvdm.diffusion.sampling import VideoRequest


def test_clips_a_long_video_and_decoding_are_measured_and_agree_with_the_plain_path(capsys):
    arguments = ["--size", "tiny", "--no-compile", "--seconds", "0.01", "--batch", "1", "--steps", "2"]
    rows = sampling.main(
        [*arguments, "--long-videos", "2", "--long-frames", "96", "--decode-frames", "64", "128", "--against", "25"]
    )
    assert [row.work.split(",")[0] for row in rows] == [
        *("1 clips", "1 clips", "2 x 96 frames", "decode 64 frames", "decode 128 frames")
    ]
    assert [row.error < 1e-4 for row in rows if row.error is not None] == [True, True]
    assert "20 steps of dpmpp2m against 25 of dpmpp2m, same noise: " in capsys.readouterr().out


def test_the_least_work_of_a_long_video_counts_each_pass_of_each_window():
    """64 frames are 16 latents: windows of 5 at stride 4, of which a gap's 3 are made, each from both ends."""
    params = untrained.params_of(untrained.parser("").parse_args(["--size", "tiny", "--frames", "20"]))
    asked = params.sample.model_copy(update={"steps": 3})
    one, decoding = (networks.least(part, params, 1).flops for part in ("denoiser", "decode"))
    long = sampling._least_of_long(params, params.train_denoiser, asked, [VideoRequest(0, None, 16)])
    key_windows, gaps = 1, 4
    assert long.flops == 3 * one * (key_windows + 2 * gaps) + decoding * 16 / 5
    refined = asked.model_copy(update={"refine_strength": 0.5, "guidance": -1.0})  # 2 of 3 steps, unconditional alone
    long = sampling._least_of_long(params, params.train_denoiser, refined, [VideoRequest(0, None, 16)])
    assert long.flops == one * (3 * key_windows + 2 * gaps) + decoding * 16 / 5


def test_the_official_time_stands_beside_clips_of_its_own_kind_alone():
    params = untrained.params_of(untrained.parser("").parse_args([]))
    sample = params.sample.model_copy(update={"sampler": "ddim", "steps": 50, "eta": 1.0})
    assert sampling.official_clips(params, sample, 8) == 2.84
    for other in ({"eta": 0.0}, {"steps": 49}, {"sampler": "dpmpp2m"}):
        assert sampling.official_clips(params, sample.model_copy(update=other), 8) is None
    assert sampling.official_clips(params, sample, 4) is None
    tiny = untrained.params_of(untrained.parser("").parse_args(["--size", "tiny"]))
    assert sampling.official_clips(tiny, sample, 8) is None
