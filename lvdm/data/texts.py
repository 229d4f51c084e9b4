"""What a frozen text encoder says of texts, on disk: each text is encoded once, however often it is needed.

A folder an encoder, named by its fingerprint, of shards that are each written in one piece and never changed; a text is
found by its sha256. So nothing in it is ever stale, and a run that is killed goes on after its last shard.
Not here: the encoder (lvdm/models/text.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float32
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from lvdm.fingerprints import fingerprint
from lvdm.progress import progress
from lvdm.workspace import atomic_file

SHARD_TEXTS = 1024


@runtime_checkable
class Encoder(Protocol):
    """What turns a text into tokens, and the hash of all that decides into which."""

    fingerprint: str

    def encode(self, text: str) -> Float32[Tensor, "n d"]: ...


class EncodedTexts:
    """The tokens of texts, read from disk one text at a time; can be pickled and opened in many processes."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._open: dict[Path, Any] = {}
        self._shards = {
            key: shard
            for shard in sorted(folder.glob("[!.]*.safetensors"))
            for key in self._read(shard).keys()  # noqa: SIM118
        }

    def tokens(self, text: str) -> Float32[Tensor, "n d"]:
        """The tokens of a text that is encoded."""
        return self._read(self._shards[_key(text)]).get_tensor(_key(text))

    def __contains__(self, text: str) -> bool:
        return _key(text) in self._shards

    def _read(self, shard: Path) -> Any:
        if shard not in self._open:
            self._open[shard] = safe_open(shard, "pt")
        return self._open[shard]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_open": {}}


def encode_texts(encoder: Encoder, texts: Iterable[str], cache: Path) -> EncodedTexts:
    """The tokens of `texts`, and of those that were encoded before; only new ones run the encoder."""
    folder = cache / "texts" / encoder.fingerprint
    encoded = EncodedTexts(folder)
    missing = sorted({text for text in texts if text not in encoded})
    shard: dict[str, Tensor] = {}
    for count, text in enumerate(progress(missing, len(missing), "encoding texts", "text"), start=1):
        shard[_key(text)] = encoder.encode(text)
        if len(shard) == SHARD_TEXTS or count == len(missing):
            with atomic_file(folder / f"{fingerprint(sorted(shard))}.safetensors") as beside:
                save_file(shard, beside)
            shard = {}
    return EncodedTexts(folder) if missing else encoded


def _key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
