"""How the datasets of the paper lie on disk: which files are their videos, and what a place says of the video there.

One function a layout, from the source's folder to `Tell`. Not here: tables that a person writes (captions.py), which
have the last word, and what is inside a file (video.py).
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath

from lvdm.errors import SourceError
from lvdm.params import layouts as params

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Told:
    """What the place of a video says of it. Videos of one `group` belong into one split."""

    label: str | None = None
    caption: str | None = None
    split: str | None = None
    group: str | None = None


NOTHING = Told()
Tell = Callable[[str], Told | None]  # the id of a video: what is said of it, or None for one that is not asked for


def tell(layout: params.Layout, folder: Path, ids: Iterable[str], texts: Sequence[Path]) -> dict[str, Told]:
    """What `layout` says of the videos `ids` of a source in `folder`; those that it does not ask for are left out.

    `texts` are the text files of the source, among which are those that name its splits.

    Raises:
        SourceError: a file of the dataset that names its splits is missing or is no such file.
    """
    names = list(ids)
    told = _teller(layout, folder, names, texts)
    return {name: said for name in names if (said := told(name)) is not None}


def reads_frames(layout: params.Layout) -> bool:
    """Whether folders of images are videos."""
    return isinstance(layout, params.FrameFolders | params.SkyTimelapse | params.TaichiHd)


def _teller(layout: params.Layout, folder: Path, names: list[str], texts: Sequence[Path]) -> Tell:
    match layout:
        case params.Ucf101():
            return _ucf101(layout, folder, texts)
        case params.SkyTimelapse():
            return _sky_timelapse
        case params.FaceForensics():
            return _faceforensics(layout, folder, names, texts)
        case params.Mead():
            return _mead(layout)
        case params.TaichiHd():
            return _taichi_hd
        case _:
            return lambda name: NOTHING


def _ucf101(layout: params.Ucf101, folder: Path, texts: Sequence[Path]) -> Tell:
    """v_ApplyEyeMakeup_g08_c01: class, group, clip. A video that neither list names is in no split, and so rejected.

    The class is spelt as in the lists, CLASS/VIDEO.avi: the videos of HandstandPushups are named v_HandStandPushups.
    """
    listed: dict[str, tuple[str, str]] = {}  # split and class
    for split in ("train", "test"):
        name = f"{split}list0{layout.split_list}.txt"
        path = _one_file(folder, texts, name, "the official split lists of UCF-101")
        for line in path.read_text().split("\n"):
            if line.strip():
                video = PurePosixPath(line.split()[0])
                listed[video.stem] = (split, video.parent.name)

    def told(name: str) -> Told | None:
        stem = PurePosixPath(name).stem
        if (found := re.fullmatch(r"v_(\w+)_(g\d+)_c\d+", stem)) is None:
            return None
        named, group = found.groups()
        split, said = listed.get(stem, ("unlisted", ""))
        label = said or named
        words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", label).lower()
        return Told(label, words, split, f"{label}_{group}")

    return told


def _sky_timelapse(name: str) -> Told | None:
    """sky_train/VIDEO/VIDEO_3/...: clips of one video of the web are a group."""
    parts = PurePosixPath(name).parts
    for folder, video in pairwise(parts):
        if folder in ("sky_train", "sky_test"):
            split = folder.removeprefix("sky_")
            return Told(caption="a time-lapse of the sky", split=split, group=PurePosixPath(video).stem)
    return None


def _faceforensics(layout: params.FaceForensics, folder: Path, names: list[str], texts: Sequence[Path]) -> Tell:
    """original_sequences/youtube/c23/videos/033.mp4, manipulated_sequences/Deepfakes/c23/videos/033_097.mp4.

    A manipulated video shows two sources, so both are one group. With the official train.json, val.json and test.json
    in the source, these decide, and what is in val is left out; without them the split is drawn, by group. A group is
    named by the smallest of its members that are asked for, so a new manipulation may join two and move them.
    """
    pattern = re.compile(r"(original|manipulated)_sequences/(\w+)/(raw|c23|c40)/videos/([\w-]+)\.\w+")
    asked = {
        name: found
        for name in names
        if (found := pattern.search(name)) and found[3] == layout.compression and layout.videos in (found[1], "all")
    }
    group_of: dict[str, str] = {}
    for found in asked.values():
        _join(group_of, _sources(found[4]))
    split_of: dict[str, str] = {}
    for pair, split in _official_pairs(folder, texts):
        _join(group_of, pair)
        split_of.update(dict.fromkeys(pair, split))

    def told(name: str) -> Told | None:
        if (found := asked.get(name)) is None:
            return None
        source = _sources(found[4])[0]
        if (split := split_of.get(source)) == "val":
            return None
        label = "original" if found[1] == "original" else found[2]
        return Told(label, None, split, _root(group_of, source))

    return told


def _official_pairs(folder: Path, texts: Sequence[Path]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Two sources that manipulated videos show, and their split; nothing without test.json."""
    if not any(path.name == "test.json" for path in texts):
        logger.warning("%s: no test.json, so the splits of FaceForensics++ are drawn and not the official ones", folder)
        return
    for split in ("train", "val", "test"):
        path = _one_file(folder, texts, f"{split}.json", "the official splits of FaceForensics++")
        try:
            pairs = [tuple(map(str, pair)) for pair in json.loads(path.read_text())]
        except (ValueError, TypeError) as error:
            raise SourceError(f"{path}: no list of pairs", got=str(error)) from None
        yield from ((pair, split) for pair in pairs)


def _sources(stem: str) -> tuple[str, ...]:
    """Whom a file shows: 033_097 two videos of youtube, 01__hugging_happy and 01_02__hugging_happy__YVGY8LOK actors."""
    shown, *scene = stem.split("__")
    return tuple(f"actor {who}" if scene else who for who in shown.split("_"))


def _mead(layout: params.Mead) -> Tell:
    """M003/video/front/angry/level_2/014.mp4: the identity is the group, the emotion the label."""
    pattern = re.compile(r"(?:^|/)([MW]\d+)/video/(\w+)/(\w+)/level_(\d)/\d+\.\w+$")

    def told(name: str) -> Told | None:
        found = pattern.search(name)
        if found is None or found[2] not in layout.views:
            return None
        identity, view, emotion, level = found.groups()
        caption = f"a talking face, {emotion}, level {level}, seen from {view.replace('_', ' ')}"
        return Told(emotion, caption, None, identity)

    return told


def _taichi_hd(name: str) -> Told | None:
    """train/VIDEO#001234#001500.mp4: clips of one video of the web are a group."""
    path = PurePosixPath(name)
    split = next((part for part in path.parts if part in ("train", "test")), None)
    if split is None or "#" not in path.name:
        return None
    return Told(caption="a person practising tai chi", split=split, group=path.name.split("#")[0])


def _one_file(folder: Path, texts: Sequence[Path], name: str, what: str) -> Path:
    found = [path for path in texts if path.name == name]
    if len(found) != 1:
        raise SourceError(
            f"{folder}: {what}",
            expected=f"one file {name} in it or below",
            got=", ".join(str(path.relative_to(folder)) for path in found) or "none",
        )
    return found[0]


def _join(group_of: dict[str, str], members: tuple[str, ...]) -> None:
    """Makes the groups of all members one; a group is named for its smallest member."""
    roots = sorted({_root(group_of, member) for member in members})
    for root in roots:
        group_of[root] = roots[0]


def _root(group_of: dict[str, str], member: str) -> str:
    while group_of.setdefault(member, member) != member:
        member = group_of[member]
    return member
