"""What Git says of the repository that a folder lies in.

Not here: what it is asked for.
"""

from __future__ import annotations

import subprocess
from pathlib import Path


def git(root: Path, *arguments: str) -> str | None:
    """What Git prints, names of files as they are; None if it refuses, or there is no Git."""
    command = ["git", "-C", str(root), "-c", "core.quotePath=false", *arguments]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return result.stdout if result.returncode == 0 else None
