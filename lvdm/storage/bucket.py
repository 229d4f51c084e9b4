"""One prefix of S3 and the requests to it: what comes is of the object that was asked for, or there is one clear error.

The only importer of s3fs. Credentials and endpoint come from where every AWS tool looks for them (the environment, then
~/.aws), so that DVC finds the same.
Not here: putting an object together of what was read (fetching.py), and making new ones (publishing.py).
"""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import os
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, TypeVar

from lvdm.errors import StorageError

logger = logging.getLogger(__name__)

ATTEMPTS = 8
PAUSE, LONGEST_PAUSE = 0.5, 8.0  # seconds: the first, each next one twice as long
PARALLEL = 64  # requests at once
READ_SECONDS = 20  # without a byte
SMALL, LARGE_AT_ONCE = 2**20, 12  # bytes of an answer that is no matter of memory; larger ones at once
DAMAGED = (
    "BadDigest",
    "IncompleteBody",
    "XAmzContentSHA256Mismatch",
    "XAmzContentChecksumMismatch",
)  # on the way there
STOPPED: ContextVar[tuple[threading.Event, ...]] = ContextVar("STOPPED", default=())  # of the pools that a thread is of
T = TypeVar("T")


@dataclass(frozen=True)
class Object:
    """An object as it was listed: another content has another etag."""

    key: str  # bucket/key
    etag: str  # empty: whatever content it has
    size: int  # bytes


@dataclass(frozen=True)
class Content(Object):
    """An object that is named by the sha256 of its content."""

    @property
    def sha256(self) -> str:
        return self.key.rpartition("/")[2]


class GoneError(StorageError):
    """An object is not there any more."""


class Prefix:
    """s3://bucket/prefix. Every request is tried again with growing pauses; then there is one StorageError.

    Attributes:
        where: the prefix and its endpoint, for people.
    """

    def __init__(self, url: str, remedy: str):
        """Connects to nothing yet. `remedy` is for what is not there, or is another object than before.

        Raises:
            StorageError: an address holds credentials, which would end in logs and in dvc.lock.
        """
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
        bucket = url.removeprefix("s3://").split("/")[0]
        if "@" in endpoint or "@" in bucket or (":" in bucket and not bucket.startswith("arn:")):
            raise StorageError(
                f"{'AWS_ENDPOINT_URL_S3' if '@' in endpoint else 's3://'}: a user or a password in an address",
                remedy="give the address alone, and AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
            )
        if not bucket:
            raise StorageError(f"{url}: no bucket", expected="s3://bucket/prefix")
        self.url, self.remedy = url.rstrip("/"), remedy
        self._at = f" at {endpoint}" if endpoint else ""
        self.where = f"{self.url}{self._at}"
        self._endpoint = endpoint or None
        self.large = threading.BoundedSemaphore(LARGE_AT_ONCE)  # of one process, as the connection is

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
            StorageError: they may not be listed, there is no such bucket, or the server does not answer.
        """
        bucket = self._s3.split_path(f"{self.url}/")[0]
        in_order = sorted(self.described().items())
        return {name: Object(f"{bucket}/{said['Key']}", said["ETag"], said["Size"]) for name, said in in_order}

    def described(self, below: str = "") -> dict[str, dict[str, Any]]:
        """What the server says of each object below the prefix whose path within it begins with `below`, by this path.

        Raises:
            StorageError: they may not be listed, there is no such bucket, or the server does not answer.
        """
        bucket, prefix, _ = self._s3.split_path(f"{self.url}/")
        found: dict[str, dict[str, Any]] = {}
        page: dict[str, Any] = {}
        while page.get("IsTruncated", True):
            at = {"ContinuationToken": page["NextContinuationToken"]} if page else {}
            which = {"Bucket": bucket, "Prefix": f"{prefix}{below}", **at}
            call = functools.partial(self._s3.call_s3, "list_objects_v2", **which)
            page = self._retried(self.where, call)
            for said in page.get("Contents", ()):
                found[said["Key"].removeprefix(prefix)] = said
        return found

    def key(self, name: str = "") -> str:
        """bucket/key of the object `name` of the prefix, or of the one that has its very name."""
        return f"{self.url.removeprefix('s3://')}{f'/{name}' if name else ''}"

    def where_is(self, key: str) -> str:
        """An object and its endpoint, for people."""
        return f"s3://{key}{self._at}"

    def find(self, key: str) -> dict[str, Any] | None:
        """What the server says of an object; None if there is none.

        Raises:
            StorageError: it may not be read, or the server does not answer.
        """
        try:
            return self.ask("head_object", key, passing=(FileNotFoundError,))
        except FileNotFoundError:
            return None

    def ask(
        self, method: str, key: str, *, passing: tuple[type[OSError], ...] = (), **arguments: Any
    ) -> dict[str, Any]:
        """The answer to a request about one object; errors of `passing` are the caller's.

        Raises:
            FileExistsError: it was to be made only if it is not there (IfNoneMatch), which `passing` has to name.
            StorageError: it is refused, or the server does not answer.
        """
        bucket, name, _ = self._s3.split_path(key)

        def call() -> dict[str, Any]:
            try:
                return self._s3.call_s3(method, Bucket=bucket, Key=name, **arguments)
            except OSError as error:  # not every server says which condition it was
                if "IfNoneMatch" in arguments and _code(error) in ("PreconditionFailed", "412"):
                    raise FileExistsError(str(error)) from error
                raise

        return self._retried(self.where_is(key), call, passing)

    def read(self, entry: Object, start: int, end: int) -> bytes:
        """The bytes [start, end), of the very object that was listed.

        Raises:
            StorageError: it is not that object any more, or cannot be had.
        """
        from fsspec.asyn import sync

        bucket, key, _ = self._s3.split_path(entry.key)
        which = {"Bucket": bucket, "Key": key, "Range": f"bytes={start}-{end - 1}"}
        which |= {"IfMatch": entry.etag} if entry.etag else {}

        async def body() -> bytes:
            said = await self._s3._call_s3("get_object", **which)
            async with said["Body"] as stream:
                return bytes(await stream.read())

        def whole() -> bytes:
            block = sync(self._s3.loop, body)
            if len(block) != end - start:
                raise OSError(f"{len(block)} of {end - start} bytes came")
            return block

        with self.large if end - start > SMALL else contextlib.nullcontext():
            return self._retried(self.where_is(entry.key), whole)

    def _retried(self, what: str, call: Callable[[], T], passing: tuple[type[OSError], ...] = ()) -> T:
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
            stopped = STOPPED.get()
            if any(pool.is_set() for pool in stopped):
                raise StorageError(f"{what}: left, as nobody waits for it any more")
            try:
                return call()
            except (PermissionError, *no_credentials) as error:
                remedy = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, to ones that may"
                raise StorageError(f"{what}: no access", got=str(error), remedy=remedy) from None
            except passing:
                raise
            except (OSError, BotoCoreError, *S3_RETRYABLE_ERRORS) as error:
                if _is_final(error):
                    kind = GoneError if isinstance(error, FileNotFoundError) else StorageError
                    said = f"{what}: not there, or changed meanwhile"
                    raise kind(said, got=str(error), remedy=self.remedy) from None
                if attempt == ATTEMPTS:
                    remedy = "check AWS_ENDPOINT_URL_S3 and the network, then run this again: what came is kept"
                    raise StorageError(f"{what}: {attempt} attempts failed", got=str(error), remedy=remedy) from None
                logger.warning("%s: attempt %d of %d: %s", what, attempt, ATTEMPTS, error)
                pause = min(LONGEST_PAUSE, PAUSE * 2 ** (attempt - 1)) * random.uniform(0.5, 1.0)
                stopped[0].wait(pause) if stopped else time.sleep(pause)
        raise AssertionError("unreachable")


class Pool(ThreadPoolExecutor):
    """Threads for requests. After an error in its block they ask nothing more, nor do those of pools within theirs."""

    def __init__(self, workers: int):
        self.stopped = threading.Event()
        super().__init__(workers, initializer=STOPPED.set, initargs=((*STOPPED.get(), self.stopped),))

    def __exit__(self, error: type[BaseException] | None, *rest: object) -> None:
        if error:
            self.stopped.set()
        self.shutdown(cancel_futures=error is not None)


def lies_within(name: str) -> bool:
    """Whether an object, by its path within a prefix, is below a folder that the prefix is fetched to."""
    path = PurePosixPath(name)  # of s3://bucket/prefix//etc/x it is /etc/x, of s3://bucket/prefix/ it is empty
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def _is_final(error: BaseException) -> bool:
    """Whether the server would say the same again."""
    if _code(error) in DAMAGED:
        return False
    return isinstance(error, FileNotFoundError) or getattr(error, "errno", None) == errno.EINVAL


def _code(error: BaseException) -> str:
    """What the server called an error; empty if it is none of its."""
    response = getattr(error.__cause__, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))
