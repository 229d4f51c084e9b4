"""One prefix of S3, listed and fetched: what comes is the object that was listed, whole, or there is one clear error.

The only importer of s3fs. Credentials and endpoint come from where every AWS tool looks for them (the environment, then
~/.aws), so that DVC, which watches the same prefix, finds the same.
Not here: which objects are wanted (sources.py), and where what came is kept.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import logging
import os
import random
import re
import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from lvdm.errors import SourceError

logger = logging.getLogger(__name__)

ATTEMPTS = 8
PAUSE, LONGEST_PAUSE = 0.5, 8.0  # seconds: the first, each next one twice as long
PARALLEL = 16  # objects fetched at once
BLOCK = 8 * 2**20  # bytes of a request: what a cut connection can cost
READ_SECONDS = 20  # without a byte
MD5 = re.compile(r'"?([0-9a-f]{32})"?')
T = TypeVar("T")


@dataclass(frozen=True)
class Object:
    """An object as it was listed: another content has another etag."""

    key: str  # bucket/key
    etag: str
    size: int  # bytes


class Prefix:
    """s3://bucket/prefix. Every request is tried again with growing pauses; then there is one SourceError."""

    def __init__(self, url: str):
        """Connects to nothing yet.

        Raises:
            SourceError: an address holds credentials, which would end in logs and in dvc.lock.
        """
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
        bucket = url.removeprefix("s3://").split("/")[0]
        if "@" in endpoint or "@" in bucket or (":" in bucket and not bucket.startswith("arn:")):
            raise SourceError(
                f"{'AWS_ENDPOINT_URL_S3' if '@' in endpoint else 'ingest.source'}: a user or a password in an address",
                remedy="give the address alone, and AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
            )
        self.url = url.rstrip("/")
        self.where = f"{self.url} at {endpoint}" if endpoint else self.url
        self._endpoint, self._stopped = endpoint or None, threading.Event()

    @functools.cached_property
    def _s3(self) -> Any:
        import s3fs

        once = {"retries": {"max_attempts": 0}, "connect_timeout": 5, "read_timeout": READ_SECONDS}
        pool = {"max_pool_connections": PARALLEL}
        s3 = s3fs.S3FileSystem(
            endpoint_url=self._endpoint, use_listings_cache=False, skip_instance_cache=True, config_kwargs=once | pool
        )
        s3.retries = 1
        return s3

    def list(self) -> dict[str, Object]:
        """All objects below the prefix, by their path within it, in order.

        Raises:
            SourceError: there are none, they may not be read, or the server does not answer.
        """
        bucket, prefix, _ = self._s3.split_path(f"{self.url}/")
        found: dict[str, Object] = {}
        page: dict[str, Any] = {}
        while page.get("IsTruncated", True):
            at = {"ContinuationToken": page["NextContinuationToken"]} if page else {}
            page = self._call("list_objects_v2", self.where, Bucket=bucket, Prefix=prefix, **at)
            for said in page.get("Contents", ()):
                found[said["Key"].removeprefix(prefix)] = Object(f"{bucket}/{said['Key']}", said["ETag"], said["Size"])
        if not found:
            raise SourceError(f"{self.where}: not there", got="no object has this prefix", remedy="check ingest.source")
        return dict(sorted(found.items()))

    def fetch_all(self, wanted: Iterable[tuple[Object, Path]]) -> Generator[Path, None, None]:
        """Fetches each object to its path, several at once, and yields the paths as they are there.

        Raises:
            SourceError: one cannot be had; the rest is left.
        """
        with ThreadPoolExecutor(PARALLEL) as pool:
            try:
                for done in as_completed([pool.submit(self.fetch, entry, path) for entry, path in wanted]):
                    yield done.result()
            finally:
                self._stopped.set()
                pool.shutdown(cancel_futures=True)
                self._stopped.clear()

    def fetch(self, entry: Object, path: Path) -> Path:
        """Fetches an object to `path`, which is not to be read before this returns. Returns `path`.

        Raises:
            SourceError: it is not what was listed any more, or cannot be had.
        """
        what = f"s3://{entry.key}{self.where.removeprefix(self.url)}"

        def read(start: int) -> bytes:
            if self._stopped.is_set():
                raise SourceError(f"{what}: left, as another object could not be had")
            return self._retried(what, lambda: self._read(entry, start, min(start + BLOCK, entry.size)))

        for _ in range(ATTEMPTS):
            digest = hashlib.md5(usedforsecurity=False)
            with path.open("wb") as file:
                for start in range(0, entry.size, BLOCK):
                    block = read(start)
                    file.write(block)
                    digest.update(block)
                file.flush()
                os.fsync(file.fileno())
            wrong = MD5.fullmatch(entry.etag) and entry.etag.strip('"') != digest.hexdigest()  # of parts it is no md5
            if not wrong or self._is_encrypted(entry, what):
                return path
            logger.warning("%s: came damaged, fetched again", what)
        remedy = "check the network and any proxy on the way, then run this again: what came whole is kept"
        raise SourceError(f"{what}: came damaged {ATTEMPTS} times", expected=f"md5 {entry.etag}", remedy=remedy)

    def _is_encrypted(self, entry: Object, what: str) -> bool:
        """Whether the etag is no checksum because of the key that the server encrypts with."""
        bucket, key, _ = self._s3.split_path(entry.key)
        said = self._call("head_object", what, Bucket=bucket, Key=key)
        return said.get("ServerSideEncryption", "AES256") != "AES256" or "SSECustomerAlgorithm" in said

    def _read(self, entry: Object, start: int, end: int) -> bytes:
        """The bytes [start, end), of the very object that was listed."""
        bucket, key, _ = self._s3.split_path(entry.key)
        which = {"Bucket": bucket, "Key": key, "IfMatch": entry.etag, "Range": f"bytes={start}-{end - 1}"}

        async def body() -> bytes:
            said = await self._s3._call_s3("get_object", **which)
            async with said["Body"] as stream:
                return bytes(await stream.read())

        from fsspec.asyn import sync

        block = sync(self._s3.loop, body)
        if len(block) != end - start:
            raise OSError(f"{len(block)} of {end - start} bytes came")
        return block

    def _call(self, method: str, what: str, **arguments: str) -> dict[str, Any]:
        return self._retried(what, lambda: self._s3.call_s3(method, **arguments))

    def _retried(self, what: str, call: Callable[[], T]) -> T:
        from botocore.exceptions import (
            BotoCoreError,
            CredentialRetrievalError,
            NoCredentialsError,
            PartialCredentialsError,
            ProfileNotFound,
        )
        from s3fs.core import S3_RETRYABLE_ERRORS

        no_credentials = (CredentialRetrievalError, NoCredentialsError, PartialCredentialsError, ProfileNotFound)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return call()
            except (PermissionError, *no_credentials) as error:
                remedy = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, to ones that may read it"
                raise SourceError(f"{what}: no access", got=str(error), remedy=remedy) from None
            except (OSError, BotoCoreError, *S3_RETRYABLE_ERRORS) as error:
                if isinstance(error, FileNotFoundError) or getattr(error, "errno", None) == errno.EINVAL:
                    remedy = "check ingest.source, then run `lvdm ingest` again"
                    raise SourceError(
                        f"{what}: not there, or changed meanwhile", got=str(error), remedy=remedy
                    ) from None
                if attempt == ATTEMPTS or self._stopped.is_set():
                    remedy = "check AWS_ENDPOINT_URL_S3 and the network, then run this again: what came is kept"
                    raise SourceError(f"{what}: {attempt} attempts failed", got=str(error), remedy=remedy) from None
                logger.warning("%s: attempt %d of %d: %s", what, attempt, ATTEMPTS, error)
                self._stopped.wait(min(LONGEST_PAUSE, PAUSE * 2 ** (attempt - 1)) * random.uniform(0.5, 1.0))
        raise AssertionError("unreachable")
