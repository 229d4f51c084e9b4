"""The S3 server and its faulty proxy, as in tests/data."""

from ..data.conftest import proxy, s3, server, workspace

__all__ = ["proxy", "s3", "server", "workspace"]
