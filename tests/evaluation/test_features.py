"""Feature networks give what their protocol says, clip by clip."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from lvdm.errors import WeightsError
from lvdm.evaluation.extraction import ClipSet, extract
from lvdm.evaluation.features import CaptionSimilarity, Extractor, InceptionFeatures, load_extractor
from lvdm.workspace import Workspace
from tests.evaluation.conftest import CPU, TinyDetector, TinyInception, install_detector, moving_square, script_quietly


@pytest.mark.parametrize("name", ["tn2", "efflite0"])
def test_a_clip_has_the_same_features_alone_and_in_a_batch(name: str, with_weights: Workspace) -> None:
    network = load_extractor(name, with_weights, CPU).network
    batch = torch.stack([moving_square(seed) for seed in range(3)])
    with torch.inference_mode():
        together, alone = network(batch), torch.cat([network(clip[None]) for clip in batch])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert (together[0] - together[1]).abs().max() > 1e-2


def test_tn2_sees_the_order_of_frames_and_efflite0_does_not(with_weights: Workspace) -> None:
    clip = moving_square(0)
    shuffled = clip[torch.randperm(16, generator=torch.Generator().manual_seed(0))]
    tn2, efflite0 = (load_extractor(name, with_weights, CPU) for name in ("tn2", "efflite0"))
    assert (tn2(clip) - tn2(shuffled)).abs().max() > 0.1
    torch.testing.assert_close(efflite0(clip), efflite0(shuffled), rtol=1e-4, atol=1e-5)


def test_efflite0_with_its_classifier_knows_what_a_picture_shows(with_weights: Workspace) -> None:
    """An ImageNet network sees textures: a grid of fine holes is "window screen" (904) or its like, not an animal."""
    network = load_extractor("efflite0", with_weights, CPU).network
    image = torch.full((1, 3, 224, 224), 30.0)
    image[..., ::4, :] = 180
    image[..., :, ::4] = 180
    with torch.inference_mode():
        top = network._fc(network.pooled(image)).softmax(dim=1).topk(5).indices[0].tolist()
    assert set(top) & {904, 905, 489, 556, 539}


def test_still_frames_do_not_move_and_moving_ones_do(workspace: Workspace) -> None:
    still, moving = moving_square(0)[:1].expand(8, -1, -1, -1), moving_square(0)
    motion, static = (load_extractor(name, workspace, CPU) for name in ("motion", "static"))
    assert (motion(still).item(), static(still).item()) == (0, 1)
    assert motion(moving).item() > 1
    assert static(moving).item() == 0
    half = torch.cat([moving[:5], moving[4:5].expand(4, -1, -1, -1)])
    assert static(half).item() == 0.5


def test_the_i3d_path_gives_one_row_of_400_logits_a_clip(workspace: Workspace) -> None:
    networks = install_detector(workspace, TinyDetector())
    extract = load_extractor("i3d", workspace, CPU, networks)
    features = extract(moving_square(0))
    assert features.shape == (1, 400)
    assert extract.sha256 == networks["i3d"].sha256


def test_a_torchscript_of_another_hash_is_refused(workspace: Workspace) -> None:
    install_detector(workspace, TinyDetector())
    with pytest.raises(WeightsError, match="expected sha256"):
        load_extractor("i3d", workspace, CPU)


class WrongDetector(torch.nn.Module):
    def forward(self, x: Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False) -> Tensor:
        return x.mean(dim=(2, 3, 4))


def test_inception_sees_each_frame_as_a_sample_of_its_own(tmp_path: Path) -> None:
    script_quietly(TinyInception(), tmp_path / "inception.pt")
    clip = moving_square(0)
    features = Extractor("inception", "", InceptionFeatures.load(tmp_path / "inception.pt"), CPU)(clip)
    assert features.shape == (16, 2048)
    torch.testing.assert_close(features[:, 0], clip.double().mean(dim=(1, 2, 3)), rtol=1e-5, atol=1e-4)


def test_the_caption_similarity_is_the_mean_cosine_over_frames(clip_folder: Path) -> None:
    network = CaptionSimilarity.load(clip_folder / "pytorch_model.bin").eval()
    clip = moving_square(0, frames=4, size=64)
    extract = Extractor("clip", "", network, CPU)
    whole = extract(clip, "a red square").item()
    apart = [extract(clip[i : i + 1], "a red square").item() for i in range(4)]
    assert whole == pytest.approx(sum(apart) / 4, abs=1e-6)
    assert -1 <= whole <= 1
    assert whole != pytest.approx(extract(clip, "blue").item(), abs=1e-6)


def test_the_caption_similarity_is_that_of_transformers_own_preparation_of_frames(clip_folder: Path) -> None:
    from transformers import CLIPImageProcessorPil

    network = CaptionSimilarity.load(clip_folder / "pytorch_model.bin").eval()
    noise = torch.randint(256, (3, 70, 90, 3), generator=torch.Generator().manual_seed(0))  # bilinear: 2.7e-3 off
    clip, caption = noise.byte(), "a red square"
    prepared = CLIPImageProcessorPil()(images=[frame.numpy() for frame in clip], return_tensors="pt")
    tokens = network.tokenizer([caption], return_tensors="pt")
    with torch.no_grad():
        answer = network.network(**prepared, **tokens)
    expected = (answer.logits_per_image / network.network.logit_scale.exp()).mean().item()
    assert Extractor("clip", "", network, CPU)(clip, caption).item() == pytest.approx(expected, abs=1e-3)


def test_features_that_are_kept_are_of_the_captions_that_were_asked_for(clip_folder: Path, tmp_path: Path) -> None:
    extractor = Extractor("clip", "", CaptionSimilarity.load(clip_folder / "pytorch_model.bin").eval(), CPU)
    clips, workspace = [moving_square(0, frames=2), moving_square(1, frames=2)], Workspace(tmp_path / "cache")
    one, other = (extract(extractor, ClipSet(clips, said, "these"), workspace) for said in (["a", "b"], ["b", "a"]))
    assert torch.equal(one, extract(extractor, ClipSet(clips, ["a", "b"], "these"), workspace))
    assert not torch.equal(one, other)


def test_a_long_caption_is_cut_so_that_its_end_token_stays(clip_folder: Path) -> None:
    network = CaptionSimilarity.load(clip_folder / "pytorch_model.bin")
    tokens = network.tokenizer(["word " * 200], truncation=True, max_length=77, return_tensors="pt").input_ids
    assert tokens.shape == (1, 77)
    assert tokens[0, -1] == 599


def test_a_network_that_answers_in_another_shape_is_refused(workspace: Workspace) -> None:
    networks = install_detector(workspace, WrongDetector())
    with pytest.raises(WeightsError, match=r"expected \(n, 400\)"):
        load_extractor("i3d", workspace, CPU, networks)(moving_square(0))
