"""Whether a latent cache is of the present videos, autoencoder, settings and code; training refuses another one.

Not here: whether its bytes are what was written; that is LatentCache.verify.
"""

from __future__ import annotations

from lvdm import encoding
from lvdm.data.latent_plan import described
from lvdm.data.latents import AGAIN, LatentCache
from lvdm.data.manifest import read_manifest
from lvdm.errors import ArtefactError
from lvdm.params import Params
from lvdm.workspace import Workspace


def check_current(cache: LatentCache, params: Params, workspace: Workspace, name: str) -> None:
    """Compares a cache with what the autoencoder `name` would make of the validated videos.

    Where there are no videos or no autoencoder, as on a machine that only trains denoisers, their part goes without.
    The arithmetic may be that of another machine.

    Raises:
        ArtefactError: the cache is stale; it says what changed.
    """
    now = encoding.recipe(params, workspace, name) | {"flip": params.encode_latents.flip}
    compared = now.keys() - {"arithmetic"} - (set() if workspace.autoencoder(name).exists() else {"autoencoder"})
    changed = sorted(what for what in compared if cache.recipe.get(what) != now[what])
    if workspace.validated.exists() and (count := _num_changed(cache, workspace)):
        changed.append(f"{count} videos")
    if changed:
        raise ArtefactError(f"{cache.folder}: stale: {', '.join(changed)} changed since", remedy=AGAIN)


def _num_changed(cache: LatentCache, workspace: Workspace) -> int:
    """Videos that were added, removed, or of which content, label, caption or split changed."""
    now = described(read_manifest(workspace.validated))
    before = cache.table.select(now.column_names)
    if now.equals(before):
        return 0
    rows = [
        set(zip(*(table[column].to_pylist() for column in now.column_names), strict=True)) for table in (before, now)
    ]
    return len({row[0] for row in rows[0] ^ rows[1]})
