"""Samples are written beside the making of the next: the same files, in bounded memory, and no error is lost."""

from __future__ import annotations

import contextlib
import errno
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from lvdm.data import sample_writer
from lvdm.data.sample_writer import SampleWriter
from lvdm.data.samples import VideoSample, frames_of, write_sample
from lvdm.errors import RefusedBySystem

CHUNK = 8 * 16 * 16 * 3  # bytes of its frames


def long(number: int, frames: int = 24) -> VideoSample:
    return VideoSample("long", number, frames, seed=number, label=None)


def chunks(count: int = 3, seed: int = 0) -> Iterator[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(1, 3, 8, 16, 16, generator=generator) * 2 - 1 for _ in range(count))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_written_beside_the_making_is_what_is_written_after_it(tmp_path):
    samples = [VideoSample("clip", i, 6, i, None) for i in range(3)] + [long(i) for i in range(5)]
    with SampleWriter(tmp_path / "beside", 8.0) as writer:
        for sample in samples:
            writer.write(sample, chunks(seed=sample.seed))
    for sample in samples:
        write_sample(tmp_path / "after", sample, frames_of(sample, chunks(seed=sample.seed)), 8.0)
    assert files(tmp_path / "beside") == files(tmp_path / "after")
    assert len(files(tmp_path / "after")) == 3 + 3 + 5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")  # of torch, when it is turned on
def test_frames_that_a_gpu_still_computes_are_not_waited_for_and_are_written_whole(tmp_path):
    samples, busy = [VideoSample("clip", i, 8, i, None) for i in range(20)], torch.ones(8192, 8192, device="cuda")
    with SampleWriter(tmp_path / "gpu", 8.0) as writer:
        for sample in samples:
            (chunk,) = chunks(1, sample.seed)
            on_gpu = chunk.cuda() + (busy @ busy)[0, 0] * 0  # the same numbers, when a long product is there
            torch.cuda.set_sync_debug_mode("error")
            try:
                writer.write(sample, [on_gpu])
            finally:
                torch.cuda.set_sync_debug_mode("default")
            del on_gpu  # its memory is taken by the next one
    for sample in samples:
        write_sample(tmp_path / "cpu", sample, frames_of(sample, chunks(1, sample.seed)), 8.0)
    assert files(tmp_path / "gpu") == files(tmp_path / "cpu")


def test_a_video_is_made_while_the_one_before_it_is_written(tmp_path):
    second_is_made, in_time = threading.Event(), []

    class Pace(float):
        """Whoever writes the first video waits, to know its pace, for the making of the second."""

        def as_integer_ratio(self) -> tuple[int, int]:
            in_time.append(second_is_made.wait(timeout=60))
            return super().as_integer_ratio()

    def second() -> Iterator[torch.Tensor]:
        second_is_made.set()
        yield from chunks()

    with SampleWriter(tmp_path, Pace(8.0)) as writer:
        writer.write(long(0), chunks())
        writer.write(long(1), second())
    assert in_time and all(in_time)


def test_no_more_chunks_are_decoded_than_the_frames_need_and_none_of_what_is_made(tmp_path):
    with SampleWriter(tmp_path, 8.0) as writer:
        left = chunks(100)
        writer.write(long(0, frames=10), left)
    assert len(list(left)) == 98
    with SampleWriter(tmp_path, 8.0) as writer:
        left = chunks(1)
        writer.write(long(0, frames=10), left)
    assert len(list(left)) == 1


def test_few_frames_wait_to_be_written_however_long_a_video_is(tmp_path, monkeypatch):
    monkeypatch.setattr(sample_writer, "ROOM", 2 * CHUNK)
    seen = []

    def watched() -> Iterator[torch.Tensor]:
        for chunk in chunks(30):
            seen.append(writer._waiting)
            yield chunk

    with SampleWriter(tmp_path, 8.0) as writer:
        writer.write(long(0, frames=240), watched())
    assert len(seen) == 30
    assert max(seen) <= 2 * CHUNK
    assert writer._waiting == 0


def test_a_chunk_larger_than_all_the_room_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(sample_writer, "ROOM", CHUNK - 1)
    with SampleWriter(tmp_path, 8.0) as writer:
        writer.write(long(0), chunks())
    assert long(0).is_made(tmp_path)


class Refused(float):
    """A pace that the file system refuses, once `moment` has come."""

    def __new__(cls, moment: threading.Event) -> Refused:
        self = super().__new__(cls, 8.0)
        self.moment = moment
        return self

    def as_integer_ratio(self) -> tuple[int, int]:
        assert self.moment.wait(timeout=60)
        raise OSError(errno.ENOSPC, "No space left")


def test_what_cannot_be_written_is_an_error_of_whoever_waits_for_room_that_nobody_will_make(tmp_path, monkeypatch):
    monkeypatch.setattr(sample_writer, "ROOM", 2 * CHUNK)
    full, errors = threading.Event(), []

    def filling() -> Iterator[torch.Tensor]:
        for number, chunk in enumerate(chunks(30)):
            if number == 3:  # one is with the writer, two wait
                threading.Timer(0.2, full.set).start()
            yield chunk

    def make() -> None:
        with (
            pytest.raises(RefusedBySystem, match="No space left") as caught,
            SampleWriter(tmp_path, Refused(full)) as writer,
        ):
            writer.write(long(0, frames=240), filling())
        errors.append(caught.value)

    maker = threading.Thread(target=make, daemon=True)
    maker.start()
    maker.join(timeout=60)
    assert len(errors) == 1


def test_what_cannot_be_written_of_the_last_video_is_an_error_at_the_end(tmp_path):
    given = threading.Event()
    with pytest.raises(RefusedBySystem, match="No space left"), SampleWriter(tmp_path, Refused(given)) as writer:
        writer.write(long(0), chunks())
        given.set()


def test_of_a_video_whose_making_fails_nothing_is_kept_and_of_those_before_it_all(tmp_path):
    def failing() -> Iterator[torch.Tensor]:
        yield from chunks(1)
        raise MemoryError

    with pytest.raises(MemoryError), SampleWriter(tmp_path, 8.0) as writer:
        writer.write(long(0), chunks())
        writer._unfinished[0].result(timeout=60)
        writer.write(long(1), failing())
    assert set(files(tmp_path)) == {long(0).file}


def test_an_error_that_comes_while_errors_are_looked_for_is_not_lost(tmp_path):
    moment = threading.Event()
    with pytest.raises(RefusedBySystem, match="No space left"), SampleWriter(tmp_path, Refused(moment)) as writer:
        writer.write(long(0), chunks())
        [writing] = writer._unfinished

        class Ending(list):
            """The writing ends after it was looked at for the first time."""

            def __iter__(self) -> Iterator:
                yield writing
                moment.set()
                with contextlib.suppress(RefusedBySystem):
                    writing.result(timeout=60)

        writer._unfinished = Ending([writing])
        writer._raise_what_failed()
