"""The benchmark of chunks prints a row an arithmetic, and in float32 chunks are the whole."""

from __future__ import annotations

from benchmarks import chunks


def test_in_float32_chunks_are_the_whole_and_other_arithmetics_round_more(capsys):
    chunks.main(["--preset", "sprites", "--size", "32"])
    printed = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    told = {(row[0], row[1]): (float(row[2]), float(row[3])) for row in printed}
    for what in ("encode", "decode"):
        chunked, rounding = told["float32", what]
        assert chunked <= 1e-5 and rounding <= 1e-4
        assert told["bfloat16", what][1] > 10 * rounding
