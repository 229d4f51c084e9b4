"""A number is followed back to the data, and a break in the chain is shown."""

from __future__ import annotations

import json

from lvdm.comparison.lineage import Node, ReportRecords, read_reports, trace, trace_file
from lvdm.fingerprints import fingerprint
from lvdm.graph import STAGES
from lvdm.provenance import Provenance, code_hash
from lvdm.workspace import Workspace


def metric_tree(workspace: Workspace) -> Node:
    return trace_file(workspace.metrics("perturbed"), workspace, read_reports(workspace))


def made(stage: str, inputs: dict[str, str], outputs: dict[str, str]) -> Provenance:
    return Provenance(stage, "", inputs, outputs, params={}, code="", commit="")


def test_a_metric_leads_back_to_what_ingest_made(workspace: Workspace) -> None:
    tree = metric_tree(workspace)
    assert tree.whole
    assert (tree.path, tree.note, tree.commit) == ("metrics/perturbed.json", "evaluate perturbed", "abc123")
    samples, validated, videos = tree.inputs
    assert (samples.note, validated.note, videos.note) == ("sample perturbed", "validate", "ingest")
    assert [node.note for node in samples.inputs] == ["train_autoencoder small", "train_denoiser perturbed"]
    assert {node.note for node in validated.inputs} == {"ingest"}
    assert len({(maker.stage, maker.name) for maker in tree.makers()}) == 7


def test_a_file_changed_by_hand_breaks_the_chain(workspace: Workspace) -> None:
    workspace.metrics("perturbed").write_text('{"fd_tn2": 0.0}')
    tree = metric_tree(workspace)
    assert not tree.whole
    assert tree.note == "evaluate perturbed has made other bytes here since"
    assert "BROKEN" in tree.text()


def test_an_artefact_made_again_since_breaks_the_chain_below_and_says_who_did_it() -> None:
    samples, denoiser = "artifacts/samples/x", "artifacts/denoiser/x"
    records = [made("sample", {denoiser: "old"}, {samples: "1"}), made("train_denoiser", {}, {denoiser: "new"})]
    tree = trace(samples, "1", ReportRecords(records))
    assert tree.state == "made"
    assert [(node.state, node.note) for node in tree.inputs] == [
        ("broken", "train_denoiser has made other bytes here since")
    ]
    assert not tree.whole


def test_bytes_that_nobody_made_are_broken_even_if_the_same_bytes_lie_elsewhere() -> None:
    tree = trace("metrics/x.json", "1", ReportRecords([made("sample", {}, {"elsewhere": "1"})]))
    assert (tree.state, tree.note) == ("broken", "no stage on record made these bytes")


def test_what_lies_where_no_stage_writes_was_given_and_is_no_break() -> None:
    tree = trace("metrics/x.json", "1", ReportRecords([made("ingest", {"builtin": "7"}, {"metrics/x.json": "1"})]))
    assert [(node.path, node.state) for node in tree.inputs] == [("builtin", "given")]
    assert tree.whole


def test_a_circle_ends_as_a_break() -> None:
    tree = trace("a", "1", ReportRecords([made("x", {"b": "2"}, {"a": "1"}), made("y", {"a": "1"}, {"b": "2"})]))
    assert tree.inputs[0].inputs[0].note == "it is made from itself"
    assert not tree.whole


def test_the_text_has_a_line_a_file_indented_by_depth(workspace: Workspace) -> None:
    lines = metric_tree(workspace).text().splitlines()
    assert lines[0].startswith("metrics/perturbed.json")
    branches = [line[line.index("── ") - 1] for line in lines[1:]]
    assert branches[-1] == "└" and branches.count("└") < len(branches)
    assert [line.index("artifacts") for line in lines if "videos" in line or "samples" in line] == [4, 16, 12, 16, 4]
    assert len([line for line in lines if "as above" in line]) == 3, "what is read twice is spread out once"


def test_the_document_is_plain_and_complete(workspace: Workspace) -> None:
    tree = metric_tree(workspace)
    document = json.loads(json.dumps(tree.document()))
    assert document["inputs"][1]["inputs"][0]["path"] == "artifacts/manifest.parquet"
    assert document["fingerprint"] == fingerprint(files=[workspace.metrics("perturbed")])
    assert document["code"] == code_hash(STAGES["evaluate"])
