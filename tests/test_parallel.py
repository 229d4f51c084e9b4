"""What goes wrong in one of several processes is told as it is where there is one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lvdm.errors import LESS_AT_ONCE, ArtefactError, mendable
from lvdm.parallel import Share, share_out

CPU = torch.device("cpu")


def fill_the_disk(share: Share) -> None:
    if share.number == share.of - 1:
        Path("/dev/full").write_bytes(bytes(10_000))


def fill_the_gpu(share: Share) -> None:
    raise torch.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 1.00 GiB free. Of the allocated memory 3 GiB is ..."
    )


def err(share: Share) -> None:
    raise IndexError("a bug")


@pytest.mark.parametrize(
    ("work", "says"),
    [
        (fill_the_disk, "No space left on device; free some space and run this again"),
        (fill_the_gpu, f"GPU 0 has 1.00 GiB free; {LESS_AT_ONCE}"),
    ],
)
@pytest.mark.parametrize("num", [1, 2])
def test_a_full_disk_or_gpu_has_the_same_remedy_on_however_many_devices(
    work: Callable[[Share], None], says: str, num: int
) -> None:
    with pytest.raises(Exception, match=r"space|GPU") as caught:
        share_out(work, [CPU] * num, "sampling")
    assert str(mendable(caught.value)).endswith(says)


def test_a_bug_in_one_process_names_it() -> None:
    with pytest.raises(ArtefactError, match=r"sampling: process [12] of 2, on cpu: IndexError: a bug"):
        share_out(err, [CPU] * 2, "sampling")
