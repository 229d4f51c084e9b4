"""Text encoders: frozen networks of others that turn a text into a sequence of tokens.

Not here: keeping what they say (lvdm/data/texts.py) and how a denoiser reads it (attention.py, condition.py).
"""

from __future__ import annotations

import contextlib
import json
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float32
from torch import Tensor, nn

from lvdm.errors import WeightsError
from lvdm.fingerprints import fingerprint
from lvdm.models.condition import MAX_TOKENS
from lvdm.models.pretrained import NETWORKS, locate
from lvdm.params import TextEncoder as Config
from lvdm.storage.fetching import fetch_here
from lvdm.workspace import Workspace

REMEDY = "give train_denoiser.network.text.folder a folder with the tokenizer, config.json and weights of the encoder"


WEIGHTS, SHARDS = "model.safetensors", "model.safetensors.index.json"
VOCABULARIES = {"vocab.txt", "merges.txt"}


class TextEncoder:
    """A text encoder in a folder of transformers; it is loaded when the first text needs it.

    Attributes:
        fingerprint: a hash of the encoder's files: equal fingerprints encode equally.
    """

    def __init__(self, config: Config, folder: Path, device: torch.device):
        self.config, self.folder, self.device = config, folder, device
        self.fingerprint = fingerprint(config.encoder, MAX_TOKENS, files=_files_of(folder))

    @torch.inference_mode()
    def encode(self, text: str) -> Float32[Tensor, "n d"]:
        """The last hidden states of the tokens of `text`, on the CPU.

        A text is encoded alone, without padding, so what comes out does not depend on the texts beside it. The empty
        text has tokens too: those that begin and end every text.
        """
        tokenizer, network = self._loaded
        length = min(MAX_TOKENS, getattr(network.config, "max_position_embeddings", MAX_TOKENS))
        tokens = tokenizer(text, truncation=True, max_length=length, return_tensors="pt").to(self.device)
        states = network(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]).last_hidden_state
        return states[0].float().cpu()

    @cached_property
    def _loaded(self) -> tuple[Any, nn.Module]:
        """The tokenizer and the network.

        Raises:
            WeightsError: the folder does not hold them, or not all of their weights.
        """
        import transformers

        transformers.utils.logging.disable_progress_bar()
        transformers.utils.logging.set_verbosity_error()  # that a text encoder leaves the rest of CLIP out is no news
        classes: dict[str, Any] = {
            "minilm": transformers.BertModel,
            "clip": transformers.CLIPTextModel,
            "t5": transformers.T5EncoderModel,
        }
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(self.folder, local_files_only=True)
            network, loading = classes[self.config.encoder].from_pretrained(
                self.folder, local_files_only=True, dtype=torch.float32, output_loading_info=True
            )
        except (OSError, ValueError) as error:
            what = f"{self.folder}: no {self.config.encoder} text encoder in the format of transformers"
            raise WeightsError(what, got=str(error).splitlines()[0], remedy=REMEDY) from None
        if missing := sorted(loading["missing_keys"]):  # transformers would draw these at random
            what = f"{self.folder}: no {self.config.encoder} text encoder: {len(missing)} tensors are missing"
            raise WeightsError(what, expected=missing[0], remedy=REMEDY)
        return tokenizer, network.eval().requires_grad_(False).to(self.device)


def find_text_encoder(config: Config, workspace: Workspace) -> TextEncoder:
    """The encoder that `config` names.

    Raises:
        WeightsError: it is not there, or minilm is not the true one; the remedy says what to run.
        StorageError: S3 does not give it.
    """
    if config.folder is None:
        return TextEncoder(config, locate(NETWORKS["minilm"], workspace).parent, workspace.machine.device)
    on_s3 = config.folder.startswith("s3://")
    folder = fetch_here(config.folder, workspace) if on_s3 else workspace.root / config.folder
    if not folder.is_dir():
        raise WeightsError(f"{folder}: no such folder", remedy=REMEDY)
    return TextEncoder(config, folder, workspace.machine.device)


def _files_of(folder: Path) -> list[Path]:
    """What transformers reads of a folder: settings, tokenizer and weights, whatever else lies beside them."""
    files = {path for path in folder.glob("[!.]*") if path.suffix in (".json", ".model") or path.name in VOCABULARIES}
    weights = [folder / WEIGHTS] if (folder / WEIGHTS).is_file() else list(folder.glob("[!.]*.bin"))
    if (folder / SHARDS).is_file() and not (folder / WEIGHTS).is_file():
        with contextlib.suppress(ValueError, LookupError, AttributeError):  # of a broken list transformers says so
            weights = [folder / shard for shard in json.loads((folder / SHARDS).read_text())["weight_map"].values()]
    return sorted(path for path in files.union(weights) if path.is_file())
