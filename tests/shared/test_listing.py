"""What machines share is listed run by run; what is old goes when told to, and nothing that somebody counts on."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from dataclasses import asdict, replace

import pytest
from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends

from lvdm.__main__ import main
from lvdm.errors import ParamsError, StorageError
from lvdm.fingerprints import sha256
from lvdm.provenance import Provenance, Work
from lvdm.shared import listing
from lvdm.shared.listing import listed, remove_before
from lvdm.shared.runs import SharedRun
from lvdm.workspace import Workspace

from .test_runs import WORK, files, machine, made, run_of

TODAY = datetime.datetime.now(tz=datetime.UTC).date()
LONG_AGO = TODAY - datetime.timedelta(30)
DAY = TODAY - datetime.timedelta(7)


def published_long_ago(run: SharedRun) -> SharedRun:
    """Publishes the run; all that lies at its place is a month old then."""
    run.publish()
    bucket, _, prefix = (run.run.workspace.machine.artifacts or "").removeprefix("s3://").partition("/")
    for name, key in s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets[bucket].keys.items():
        if name.startswith(f"{prefix}/"):
            key.last_modified = datetime.datetime.combine(LONG_AGO, datetime.time(12))
    return run


def of_work(run: SharedRun, work: Work) -> SharedRun:
    """Another run of the same entry and files."""
    return run_of(run.run.workspace, work)


def record(run: SharedRun) -> None:
    """What a workspace has on record of a run that it made or fetched."""
    made, work = run.run, asdict(run.run.work)
    provenance = Provenance(made.verb, made.name, work["inputs"], {}, work["params"], code="c", commit="")
    provenance.write(made.workspace)


@pytest.fixture
def names(s3) -> Callable[[str], set[str]]:
    """What lies below a prefix: files by their sha256, and lists."""

    def below(prefix: str) -> set[str]:
        contents = s3.list_objects_v2(Bucket="raw", Prefix=f"{prefix}/").get("Contents", [])
        return {said["Key"].rpartition("/")[2] for said in contents}

    return below


def test_every_run_is_a_line_with_its_day_and_size_and_files_of_no_run_are_counted(tmp_path, s3):
    run = published_long_ago(made(tmp_path / "one", "s3://raw/listed", "x" * 1_000_000))
    record(run)
    s3.put_object(Bucket="raw", Key=f"listed/objects/{'0' * 64}", Body=b"x" * 300_000)
    s3.put_object(Bucket="raw", Key="listed/videos/a.mp4", Body=b"x" * 300_000)
    first, last = listed(run.run.workspace)
    assert first == f"encode_latents one: published {LONG_AGO}, 4.0 MB, as lies here"
    assert last.startswith("runs: 1, 4.3 MB; files of no run: 1, 0.3 MB; at s3://raw/listed at http://127.0.0.1:")
    record(of_work(run, replace(WORK, params={"steps": 2})))
    assert next(listed(run.run.workspace)) == f"encode_latents one: published {LONG_AGO}, 4.0 MB", "here is another now"


def test_old_runs_go_with_the_files_that_no_other_run_has(tmp_path, s3, names, capsys):
    first = published_long_ago(made(tmp_path / "one", "s3://raw/old"))
    second = run_of(first.run.workspace, replace(WORK, params={"steps": 2}))
    changed = second.run.workspace.metrics("one")
    before = sha256(changed)
    changed.write_text("other")
    second.publish()
    there = names("old")
    assert main(["--root", str(tmp_path / "one"), "shared", "--remove-before", DAY.isoformat()]) == 0
    assert capsys.readouterr().out.startswith("runs: 1, 0.0 MB; files of no run: 0, 0.0 MB; ")
    assert there - names("old") == {f"{WORK.fingerprint}.json", before}
    third = machine(tmp_path / "three", "s3://raw/old")
    assert not run_of(third).fetch()
    assert run_of(third, second.run.work).fetch()
    assert files(third) == files(second.run.workspace)


def test_what_lies_here_and_what_is_of_no_run_of_ours_stays(tmp_path, s3, names):
    run = published_long_ago(made(tmp_path / "one", "s3://raw/kept"))
    for key in ("kept/objects/readme.md", "kept/videos/a.mp4", "other"):
        s3.put_object(Bucket="raw", Key=key, Body=b"x")
    before = names("kept")
    record(run)
    remove_before(DAY, run.run.workspace)
    assert names("kept") == before
    record(of_work(run, replace(WORK, inputs={"artifacts/validated.parquet": "another"})))
    remove_before(DAY, run.run.workspace)
    assert names("kept") == {"readme.md", "a.mp4"}


def test_a_run_lies_here_though_its_text_encoder_is_no_artefact_of_the_record(tmp_path, s3, names):
    run = made(tmp_path / "one", "s3://raw/encoder")
    record(run)
    published_long_ago(of_work(run, replace(WORK, inputs={**WORK.inputs, "text encoder": "t5"})))
    before = names("encoder")
    remove_before(DAY, run.run.workspace)
    assert names("encoder") == before


def test_what_was_published_on_the_very_day_stays_and_a_day_later_all_of_it_goes(tmp_path, s3, names, monkeypatch):
    monkeypatch.setattr(listing, "PORTION", 3)
    published_long_ago(made(tmp_path / "one", "s3://raw/day"))
    before, two = names("day"), machine(tmp_path / "two", "s3://raw/day")
    assert len(before) == 5, "a list and the files of two portions"
    remove_before(LONG_AGO, two)
    assert names("day") == before
    remove_before(LONG_AGO + datetime.timedelta(1), two)
    assert not names("day")


def test_files_on_their_way_there_stay_and_a_list_that_comes_in_between_keeps_its_old_files(
    tmp_path, s3, proxy, names, monkeypatch
):
    run = published_long_ago(made(tmp_path / "one", "s3://raw/coming"))
    run.run.workspace.metrics("one").write_text("on its way")
    late = of_work(run, replace(WORK, params={"steps": 3}))
    proxy.fault = lambda method, path: "500" if method == "PUT" and "/made/" in path else ""
    with pytest.raises(StorageError):
        late.publish()

    def publish_once_old_lists_are_gone(method: str, path: str) -> str:
        if method == "GET" and "objects%2F" in path:
            proxy.fault = lambda method, path: ""
            late.publish()
        return ""

    proxy.fault = publish_once_old_lists_are_gone
    remove_before(DAY, machine(tmp_path / "two", "s3://raw/coming"))
    assert f"{WORK.fingerprint}.json" not in names("coming")
    three = machine(tmp_path / "three", "s3://raw/coming")
    assert run_of(three, late.run.work).fetch()
    assert files(three) == files(late.run.workspace)


def test_a_list_that_is_made_anew_under_its_name_meanwhile_keeps_the_files_that_it_has_now(
    tmp_path, s3, proxy, monkeypatch
):
    run = made(tmp_path / "one", "s3://raw/anew")
    another = of_work(run, replace(WORK, params={"steps": 4}))
    before = run.run.workspace.metrics("one").read_bytes()
    run.run.workspace.metrics("one").write_text("made anew")
    another.publish()
    s3.delete_object(Bucket="raw", Key=f"anew/{another._list}")  # its file stays, of no run
    run.run.workspace.metrics("one").write_bytes(before)
    published_long_ago(run)
    record(run)

    def publish_anew(method: str, path: str) -> str:
        if method == "GET" and "objects%2F" in path:
            proxy.fault = lambda method, path: ""
            s3.delete_object(Bucket="raw", Key=f"anew/{run._list}")  # as who finds a file of it gone
            run.run.workspace.metrics("one").write_text("made anew")
            run.publish()
        return ""

    proxy.fault = publish_anew
    remove_before(DAY, run.run.workspace)
    two = machine(tmp_path / "two", "s3://raw/anew")
    assert run_of(two).fetch()
    assert files(two) == files(run.run.workspace)


def test_a_removal_that_is_cut_short_leaves_no_part_of_a_run_and_goes_on(tmp_path, s3, proxy, names, monkeypatch):
    monkeypatch.setattr(listing, "PARALLEL", 1)
    published_long_ago(made(tmp_path / "one", "s3://raw/cut"))
    removed = []

    def refuse(method: str, path: str) -> str:
        removed.extend([path] * (method == "DELETE"))
        return "500" if method == "DELETE" and len(removed) > 2 else ""

    proxy.fault = refuse
    with pytest.raises(StorageError, match="8 attempts failed"):
        remove_before(DAY, machine(tmp_path / "two", "s3://raw/cut"))
    proxy.fault = lambda method, path: ""
    assert len(names("cut")) == 3, "the list and a file are gone"
    assert not run_of(machine(tmp_path / "three", "s3://raw/cut")).fetch()
    remove_before(DAY, machine(tmp_path / "two", "s3://raw/cut"))
    assert not names("cut")


def test_a_list_that_somebody_removes_at_this_moment_is_of_no_run(tmp_path, s3, proxy):
    run = made(tmp_path / "one", "s3://raw/going")

    def remove(method: str, path: str) -> str:
        if method == "GET" and path.endswith(".json"):
            s3.delete_object(Bucket="raw", Key=f"going/{run._list}")
        return ""

    for look in (
        lambda: list(listed(run.run.workspace))[:-1],
        run_of(machine(tmp_path / "two", "s3://raw/going")).fetch,
    ):
        proxy.fault = lambda method, path: ""
        run.publish()
        proxy.fault = remove
        assert not look()


def test_mistakes_are_one_line_and_nothing_goes(tmp_path, s3, names):
    run = published_long_ago(made(tmp_path / "one", "s3://raw/mistaken"))
    before = names("mistaken")
    with pytest.raises(ParamsError, match=r"--remove-before: expected \d{4}-\d\d-\d\d or earlier"):
        remove_before(TODAY, run.run.workspace)
    with pytest.raises(ParamsError, match=r"machine\.yaml: artifacts: expected s3://bucket/prefix"):
        list(listed(Workspace(tmp_path)))
    for said in (b"{", json.dumps({"files": {"a": 1}, "work": {}}).encode()):
        s3.put_object(Bucket="raw", Key="mistaken/made/sample/one/abc.json", Body=said)
        with pytest.raises(StorageError, match=r"made/sample/one/abc\.json .*: no list of a run; remove it there"):
            remove_before(DAY, machine(tmp_path / "two", "s3://raw/mistaken"))
    assert names("mistaken") == before | {"abc.json"}
