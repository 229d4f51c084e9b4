"""What the tests of this room share: a small run, importable here and in a process of its own."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
