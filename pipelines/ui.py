"""`python -m pipelines.ui`, or `make ui`: Dagster's pages, and beside them the reports and videos that these link to.

From a page of a server a browser opens no file of a disk; so what is below artifacts/ is served too, to this machine
alone, to be read only. Other arguments go to `dagster dev`.
"""

import contextlib
import functools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from lvdm.errors import LvdmError

QUIET = "ignore:Function `dev_command` is superseded"  # by `dg dev`, which wants another layout of the project
DAGSTER = [sys.executable, "-W", QUIET, "-m", "dagster", "dev"]


class _Handler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        """Says nothing: Dagster has the terminal."""


@contextlib.contextmanager
def serving(folder: Path, port: int) -> Iterator[int]:
    """Serves the files below `folder` at 127.0.0.1 while the block runs; yields the port, which is a free one for 0.

    Raises:
        OSError: the port is taken.
    """
    with ThreadingHTTPServer(("127.0.0.1", port), functools.partial(_Handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def main(arguments: list[str]) -> int:
    """Runs both until Dagster ends, which is told to by what this process is told to; returns its status.

    It is 1 if nothing can begin, for the port is taken, or params.yaml or machine.yaml is wrong.
    """
    try:
        from assets.catalog import PAGES, ROOT, SERVED  # which reads both
    except LvdmError as error:
        print(f"lvdm: {error}", file=sys.stderr)
        return 1
    os.environ.setdefault("DAGSTER_HOME", str(ROOT))
    port = urlsplit(PAGES).port or 80
    try:
        with serving(SERVED, port):
            signal.signal(signal.SIGINT, lambda *_: None)  # the terminal tells Dagster too, which does not inherit this
            dagster = subprocess.Popen(DAGSTER + arguments, cwd=ROOT)
            signal.signal(signal.SIGTERM, lambda *_: dagster.terminate())
            return dagster.wait()
    except OSError as error:
        print(f"port {port} for the reports: {error}; LVDM_PAGES=http://127.0.0.1:3002 uses another", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
