"""The measuring is right where it can be worked out by hand, and every row of the networks is there and correct."""

from __future__ import annotations

import time

import pytest
import torch
from torch import nn

from benchmarks import networks
from benchmarks.measuring import (
    Ceilings,
    Kernel,
    Measured,
    Work,
    a_clip,
    measure,
    profile_lines,
    relative_error,
    work_of,
)
from benchmarks.tables import Row, line

CPU = torch.device("cpu")


def test_the_least_work_of_a_convolution_is_its_operations_and_its_operands_once():
    layer, x = nn.Conv3d(3, 5, (1, 3, 3), padding=(0, 1, 1), bias=False, device="meta"), torch.empty(2, 3, 4, 8, 8)
    work = work_of(lambda: layer(x.to("meta")))
    outputs = 2 * 5 * 4 * 8 * 8
    assert work.flops == 2 * outputs * 3 * 9
    assert work.bytes == 2 * (x.numel() + layer.weight.numel() + outputs)


def test_the_floor_is_set_by_what_is_scarcer():
    limits = Ceilings(flops=100.0, bandwidth=10.0)
    assert Work(200.0, 1.0).floor(limits) == 2.0
    assert Work(1.0, 40.0).floor(limits) == 4.0


def test_a_call_is_measured_at_the_time_that_it_takes():
    began = time.perf_counter()
    measured = measure(lambda: time.sleep(0.02), CPU, seconds=0.1)
    took = time.perf_counter() - began
    assert 0.02 <= measured.seconds < took / 2  # of several calls one
    assert measured.busy is None and measured.peak is None


def test_a_clip_takes_its_part_of_the_time_of_a_batch_and_the_memory_of_the_batch():
    assert a_clip(Measured(4.0, 2.0, 2**30), 4) == Measured(1.0, 0.5, 2**30)
    assert a_clip(Measured(4.0), 4) == Measured(1.0)


def test_a_profile_counts_overlaps_once_and_says_kinds_and_kernels_of_a_call():
    found = [Kernel("triton_a", 0.0, 2.0), Kernel("flash_b", 1.0, 4.0), Kernel("sm90_conv", 6.0, 8.0)]
    lines = profile_lines(found, count=2)
    assert lines[:3] == ["  1.5 kernels, 3e+03 ms busy", "  attention: 1.5e+03 ms", "  generated: 1e+03 ms"]
    assert lines[-1].split() == ["1000.000", "ms", "0.5x", "sm90_conv"]


def test_the_gradient_of_a_convolution_is_one_of_convolutions_although_it_indexes():
    lines = profile_lines(
        [Kernel("sm90_xmma_wgrad_indexed_implicit_gemm_bf16", 0.0, 2.0), Kernel("index_put", 2.0, 3.0)]
    )
    assert {line.split(":")[0].strip() for line in lines[1:3]} == {
        "convolutions and matrix products",
        "eager pointwise, reductions, optimiser",
    }


def test_the_error_is_relative_to_the_largest_value():
    assert relative_error([torch.tensor([4.0]), torch.ones(3)], [torch.tensor([5.0]), torch.ones(3)]) == pytest.approx(
        0.2
    )


def test_a_row_says_ratios_share_and_floor_and_leaves_open_what_was_not_measured():
    limits = Ceilings(flops=1e12, bandwidth=1e12)
    row = Row("work", Measured(0.010, 0.008, 2**30), Measured(0.040), official=0.1, least=Work(5e9, 0.0), error=2e-3)
    cells = [cell.strip() for cell in line(row, limits, took=12.3).strip("|").split("|")]
    assert cells == ["work", *["10", "40", "4", "100", "10", "5", "50%", "8", "1", "-", "5", "2.0e-03", "12 s"]]
    alone = [cell.strip() for cell in line(Row("alone", None), limits, took=0.0).strip("|").split("|")]
    assert alone == ["alone", *["-"] * 12, "0 s"]


def test_every_network_has_a_row_at_every_size_that_agrees_with_the_plain_path(capsys):
    arguments = ["--size", "tiny", "--batch", "1", "2", "--seconds", "0.01", "--no-compile"]
    rows = networks.main(arguments)
    assert [row.work for row in rows] == [
        *("denoiser B=1", "denoiser B=2", "encode B=1, a clip", "encode B=2, a clip"),
        *("decode B=1, a clip", "decode B=2, a clip"),
    ]
    assert all(row.error is not None and row.error < 1e-5 for row in rows)
    assert all(row.official is None for row in rows), "the official sizes are others"
    printed = capsys.readouterr().out
    assert all(f"| {row.work} |" in printed for row in rows)
