"""How a piece of work is measured: its time, how long the GPU is busy in it, its memory, and what the machine allows.

The floor of a piece of work is the larger of its operations at the rate of a bf16 matrix product and its bytes at the
rate of a copy, both measured in the same process. Not here: what is measured; that is in the modules beside this one.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from lvdm.planning.trials import now

WARM_UP, LEAST = 3, 3  # calls
PROFILED = 2
LISTED = 15  # kernels of a profile
BYTES_A_NUMBER = 2  # of bfloat16
KINDS = {  # of kernels, by what is in their names
    "generated": ("triton",),
    "attention": ("flash", "fmha", "attention"),
    "exchange between GPUs": ("nccl",),
    "convolutions and matrix products": ("gemm", "nvjet", "convolve"),  # before what their names also hold: index
    "copies": ("Memcpy", "Memset", "copy"),
    "eager pointwise, reductions, optimiser": ("elementwise", "reduce", "multi_tensor", "cat", "index"),
}
REST = "other"
OF_WEIGHTS = ("aten::convolution", "aten::convolution_backward", "aten::mm", "aten::addmm")


@dataclass(frozen=True)
class Ceilings:
    """What the machine reaches at its best."""

    flops: float  # a second, of a bf16 matrix product
    bandwidth: float  # bytes read and written a second, of a copy


@dataclass(frozen=True)
class Work:
    """What has to be computed and moved at the least: 2 operations a multiply-add."""

    flops: float
    bytes: float

    def __mul__(self, times: float) -> Work:
        return Work(self.flops * times, self.bytes * times)

    def __add__(self, other: Work) -> Work:
        return Work(self.flops + other.flops, self.bytes + other.bytes)

    def floor(self, ceilings: Ceilings) -> float:
        """Seconds."""
        return max(self.flops / ceilings.flops, self.bytes / ceilings.bandwidth)


@dataclass(frozen=True)
class Measured:
    """One call: the median of its wall time, and on a GPU its busy time and the peak of what was allocated."""

    seconds: float
    busy: float | None = None
    peak: int | None = None


def sync(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def pace(call: Callable[[], object], device: torch.device, count: int) -> float:
    """Seconds a call, the mean over `count` of them back to back."""
    start = now(device)
    for _ in range(count):
        call()
    return (now(device) - start) / count


def measure(
    call: Callable[[], object], device: torch.device, *, seconds: float = 1.0, most: int = 30, profiled_as: str = ""
) -> Measured:
    """The median of as many calls, back to back, as fill about `seconds`, LEAST at least; their peak; then a profile.

    CUDA events time each call on a GPU, so what the host does beside it counts only if the GPU waits for it. With a
    title the profile is printed.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)  # what a CUDA graph needs is allocated at its first passes alone
    for _ in range(WARM_UP):
        call()
    first = _timed(call, device, 1)[0]
    times = _timed(call, device, max(LEAST, min(most, int(seconds / max(first, 1e-9)))))
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    found = kernels(call, device) if device.type == "cuda" else []
    if profiled_as and found:
        print("\n".join([profiled_as, *profile_lines(found)]), flush=True)
    return Measured(statistics.median(times), covered(found) / PROFILED if found else None, peak)


T = TypeVar("T")


def fitting(measured: Callable[[], T]) -> T | None:
    """What was measured, or None where the GPU has too little memory for it."""
    try:
        return measured()
    except torch.OutOfMemoryError:
        return None
    finally:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _timed(call: Callable[[], object], device: torch.device, count: int) -> list[float]:
    sync(device)
    if device.type != "cuda":
        moments = [time.perf_counter()]
        for _ in range(count):
            call()
            moments.append(time.perf_counter())
        return [later - earlier for earlier, later in pairwise(moments)]
    events = [torch.cuda.Event(enable_timing=True) for _ in range(count + 1)]
    events[0].record()
    for event in events[1:]:
        call()
        event.record()
    sync(device)
    return [earlier.elapsed_time(later) / 1e3 for earlier, later in pairwise(events)]


@dataclass(frozen=True)
class Kernel:
    """A kernel or copy on the GPU: where it ran, in seconds of the profiler's clock."""

    name: str
    start: float
    end: float


def kernels(call: Callable[[], object], device: torch.device) -> list[Kernel]:
    """All that PROFILED calls ran on a GPU, in order."""

    def calls() -> None:
        for _ in range(PROFILED):
            call()
        sync(device)

    return recorded(calls)[1]


def recorded(call: Callable[[], T]) -> tuple[T, list[Kernel]]:
    """What a call returns, and all that ran on a GPU until then, in order."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        result = call()
    found = [
        Kernel(event.name, event.time_range.start / 1e6, event.time_range.end / 1e6)
        for event in profile.events()
        if event.device_type == torch.autograd.DeviceType.CUDA and not event.is_user_annotation
    ]
    return result, sorted(found, key=lambda kernel: kernel.start)


def covered(found: Sequence[Kernel]) -> float:
    """The seconds in which at least one of the kernels runs; they are in order."""
    busy, until = 0.0, float("-inf")
    for kernel in found:
        busy += max(0.0, kernel.end - max(kernel.start, until))
        until = max(until, kernel.end)
    return busy


def profile_lines(found: Sequence[Kernel], count: int = PROFILED) -> list[str]:
    """Where the time of a call goes, the kernels of `count` calls being given: by kind, and the most expensive."""
    by_kind, by_name = defaultdict[str, float](float), defaultdict[str, float](float)
    times = Counter(kernel.name for kernel in found)
    for kernel in found:
        seconds = (kernel.end - kernel.start) / count
        by_kind[next((kind for kind, words in KINDS.items() if any(w in kernel.name for w in words)), REST)] += seconds
        by_name[kernel.name] += seconds
    kinds = [f"  {kind}: {seconds * 1e3:.3g} ms" for kind, seconds in _largest(by_kind)]
    names = [f"  {s * 1e3:8.3f} ms  {times[n] / count:5g}x  {n[:100]}" for n, s in _largest(by_name)[:LISTED]]
    return [f"  {len(found) / count:g} kernels, {covered(found) / count * 1e3:.3g} ms busy", *kinds, *names]


def _largest(seconds: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(seconds.items(), key=lambda item: -item[1])


def ceilings(device: torch.device) -> Ceilings:
    """A matrix product in bfloat16 and a copy, of sizes that fill a GPU; on a CPU small ones."""
    side, numel = (8192, 2**30) if device.type == "cuda" else (512, 2**22)
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    product = statistics.median(_timed(lambda: a @ b, device, 13)[3:])
    source = torch.empty(numel, device=device, dtype=torch.bfloat16).normal_()
    target = torch.empty_like(source)
    copy = statistics.median(_timed(lambda: target.copy_(source), device, 13)[3:])
    return Ceilings(2 * side**3 / product, 2 * BYTES_A_NUMBER * numel / copy)


class _Operands(TorchDispatchMode):
    """Counts the numbers that convolutions and linear layers read and write, each operand once."""

    numbers = 0

    def __torch_dispatch__(
        self, func: Any, types: Iterable[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func._schema.name in OF_WEIGHTS:
            self.numbers += sum(leaf.numel() for leaf in tree_leaves((args, result)) if isinstance(leaf, Tensor))
        return result


def work_of(call: Callable[[], object]) -> Work:
    """The least that `call` can cost, which computes on the device `meta`: shapes alone.

    Bytes are those of the operands of convolutions and linear layers in bfloat16, as if all else were free.
    """
    with _Operands() as operands, FlopCounterMode(display=False) as counter:
        call()
    return Work(counter.get_total_flops(), BYTES_A_NUMBER * operands.numbers)


def relative_error(fast: Sequence[Tensor], plain: Sequence[Tensor]) -> float:
    """The largest absolute error over the largest absolute value, of all tensors together."""
    errors = [(f.float() - p.float()).abs().max().item() for f, p in zip(fast, plain, strict=True)]
    return max(errors) / max(p.abs().max().item() for p in plain)


def a_clip(measured: Measured | None, clips: int) -> Measured | None:
    """The same for one clip of a batch; memory stays that of the batch."""
    if measured is None:
        return None
    busy = None if measured.busy is None else measured.busy / clips
    return replace(measured, seconds=measured.seconds / clips, busy=busy)
