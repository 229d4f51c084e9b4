from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lvdm.data.inspection import probe
from lvdm.data.reasons import UnreadableVideo
from lvdm.data.video import _read_from_the_start, read_frames, write_gif, write_video
from lvdm.errors import VideoError

from .footage import audio, cut, encoded, moving, quarter_turned, video


def reason(path: Path) -> str:
    with pytest.raises(UnreadableVideo) as caught:
        probe(path)
    assert str(path.parent) not in caught.value.detail
    return caught.value.reason


def test_what_is_written_is_read_back_closely(tmp_path):
    frames = moving()
    write_video(tmp_path / "a.mp4", [frames[:7], frames[7:]], fps=8.0)
    read = read_frames(tmp_path / "a.mp4", range(24))
    assert read.shape == frames.shape
    assert np.abs(read.astype(int) - frames).mean() < 2


def test_the_probe_says_what_was_written(tmp_path):
    found = probe(video(tmp_path / "a.mp4"))
    assert (found.frames, found.fps, found.width, found.height, found.codec) == (24, 8.0, 64, 48, "h264")
    assert found.duration == 3.0


def test_equal_frames_give_equal_bytes_however_they_are_chunked(tmp_path):
    frames = moving()
    write_video(tmp_path / "a.mp4", [frames], fps=8.0)
    write_video(tmp_path / "b.mp4", [frames[:5], frames[5:]], fps=8.0)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_frames_come_in_the_order_asked_for(tmp_path):
    path = video(tmp_path / "a.mp4")
    whole = read_frames(path, range(24))
    np.testing.assert_array_equal(read_frames(path, [20, 3, 3, 11]), whole[[20, 3, 3, 11]])
    np.testing.assert_array_equal(read_frames(path, range(1, 24, 5)), whole[1::5])


def test_a_video_that_was_removed_is_named_with_the_remedy(tmp_path):
    with pytest.raises(UnreadableVideo, match=r"gone\.mp4: missing: .* run `lvdm ingest` again$"):
        read_frames(tmp_path / "gone.mp4", range(2))


def test_an_odd_side_gains_a_line(tmp_path):
    found = probe(video(tmp_path / "a.mp4", height=33, width=47))
    assert (found.width, found.height) == (48, 34)


def test_a_writer_that_dies_leaves_nothing(tmp_path):
    def dying():
        yield moving()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_video(tmp_path / "a.mp4", dying(), fps=8.0)
    assert list(tmp_path.iterdir()) == []


def test_a_video_of_no_frames_is_refused(tmp_path):
    with pytest.raises(VideoError, match="no frames"):
        write_video(tmp_path / "a.mp4", [], fps=8.0)
    assert list(tmp_path.iterdir()) == []


def test_a_frame_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(UnreadableVideo):
        read_frames(video(tmp_path / "a.mp4"), [24])


@pytest.mark.parametrize(("name", "codec"), [("a.webm", "libvpx-vp9"), ("a.avi", "mpeg4"), ("a.mkv", "libx265")])
def test_other_containers_and_codecs_are_read(tmp_path, name, codec):
    found = probe(encoded(tmp_path / name, codec))
    assert (found.frames, found.width, found.height) == (24, 64, 48)
    assert read_frames(tmp_path / name, [0, 23]).shape == (2, 48, 64, 3)


def test_a_turned_video_has_the_sides_that_one_sees(tmp_path):
    path = quarter_turned(tmp_path / "a.mp4")
    assert (probe(path).width, probe(path).height) == (48, 64)
    assert read_frames(path, [0]).shape == (1, 64, 48, 3)


def test_both_readers_turn_a_turned_video_alike(tmp_path):
    path = quarter_turned(tmp_path / "a.mp4", height=64)
    np.testing.assert_array_equal(_read_from_the_start(path, [3, 9]), read_frames(path, [3, 9]))
    upright = read_frames(video(tmp_path / "b.mp4", height=64), [3])
    np.testing.assert_array_equal(read_frames(path, [3])[0], np.rot90(upright[0], -1))


@pytest.mark.parametrize("width", [48, 72])
def test_a_width_that_decord_cannot_read_is_read(tmp_path, width):
    path = video(tmp_path / "a.mp4", width=width)
    assert probe(path).width == width
    assert np.abs(read_frames(path, [20, 3]).astype(int) - moving(width=width)[[20, 3]]).mean() < 2


def test_av1_is_read(tmp_path):
    found = probe(encoded(tmp_path / "a.mp4", "libsvtav1"))
    assert (found.frames, found.width, found.height) == (24, 64, 48)
    assert read_frames(tmp_path / "a.mp4", [23, 1]).shape == (2, 48, 64, 3)


def test_one_frame_is_a_video(tmp_path):
    assert probe(video(tmp_path / "a.mp4", frames=1)).frames == 1


def test_each_broken_file_has_its_reason(tmp_path):
    (tmp_path / "text.mp4").write_text("<html>not found</html>\n" * 50)
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "dangling.mp4").symlink_to(tmp_path / "nowhere.mp4")
    (tmp_path / "folder.mp4").mkdir()
    Image.fromarray(moving()[0]).save(tmp_path / "png.mp4", "PNG")
    assert reason(tmp_path / "text.mp4") == "not-a-video"
    assert reason(tmp_path / "empty.mp4") == "empty"
    assert reason(tmp_path / "dangling.mp4") == "missing"
    assert reason(tmp_path / "folder.mp4") == "not-a-file"
    assert reason(tmp_path / "png.mp4") == "not-a-video"
    assert reason(audio(tmp_path / "audio.mp4")) == "no-video-stream"


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_a_truncated_file_is_truncated_with_its_index_at_either_end(tmp_path, share):
    assert reason(cut(video(tmp_path / "index_first.mp4"), share)) == "truncated"
    assert reason(cut(encoded(tmp_path / "index_last.mp4", "libx264"), share)) == "truncated"
    assert reason(cut(encoded(tmp_path / "a.webm", "libvpx-vp9"), share)) == "truncated"
    assert reason(cut(encoded(tmp_path / "a.avi", "mpeg4"), share)) == "truncated"


def test_zeroes_in_the_middle_are_corruption(tmp_path):
    content = bytearray(video(tmp_path / "a.mp4", frames=40).read_bytes())
    data = content.index(b"mdat")
    middle = (data + len(content)) // 2
    content[middle : middle + 600] = bytes(600)
    (tmp_path / "a.mp4").write_bytes(content)
    assert reason(tmp_path / "a.mp4") == "corrupt"


def test_a_gif_stays_below_its_limit_and_keeps_its_pace(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (32, 64, 64, 3), dtype=np.uint8)
    for limit in (200_000, 60_000):
        write_gif(tmp_path / "a.gif", noise, fps=8.0, max_bytes=limit)
        assert (tmp_path / "a.gif").stat().st_size <= limit
        with Image.open(tmp_path / "a.gif") as gif:
            assert gif.n_frames * gif.info["duration"] == pytest.approx(4000, rel=0.1)
