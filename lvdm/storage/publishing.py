"""Files to new objects of S3: create-only, so that nothing there is ever overwritten and half of one is never seen.

An upload is tried again safely: that the very content is there already is success, whoever put it there. Its sha256
is in the metadata of the object.
Not here: the requests (bucket.py), and in which order artefacts go (lvdm/shared/runs.py).
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any

from lvdm.errors import StorageError
from lvdm.fingerprints import sha256
from lvdm.storage.bucket import Pool, Prefix

PART = 8 * 2**20  # bytes of a request; what is larger goes in parts of at least so many
MOST_PARTS = 10_000  # that S3 puts together
FILES_AT_ONCE = 8
SHA256 = "sha256"  # in the metadata
OVERTAKEN = (FileExistsError, FileNotFoundError)  # the object is there; or its upload is gone, for it is complete


class TakenError(StorageError):
    """An object is there already, with another content."""


def publish_all(prefix: Prefix, files: Mapping[str, Path]) -> None:
    """Publishes files by the names of their objects, several at once.

    Raises:
        StorageError: one cannot be published; the rest is left.
    """
    with Pool(FILES_AT_ONCE) as pool:
        for done in as_completed([pool.submit(publish, prefix, name, path) for name, path in files.items()]):
            done.result()


def publish(prefix: Prefix, name: str, path: Path, *, trial: bool = False) -> str:
    """Makes a file the object `name` of the prefix, unless it is that already. Returns its URL.

    A trial sends it even then, which changes nothing there: whether it may be made, only the server can say.

    Raises:
        TakenError: the object is there with another content, and stays.
        StorageError: the server refuses it, or does not answer.
    """
    key, digest, size = prefix.key(name), sha256(path), path.stat().st_size
    there = None if trial else _published(prefix, key)
    if there is None:
        try:
            if size > PART:
                _publish_parts(prefix, key, path, digest)
            else:
                _put(prefix, "put_object", key, path.read_bytes(), IfNoneMatch="*", Metadata={SHA256: digest})
        except OVERTAKEN as error:  # somebody was faster, or an answer to us was lost
            if (there := _published(prefix, key)) is None:
                raise StorageError(f"{prefix.where_is(key)}: refused", got=str(error), remedy=prefix.remedy) from None
    if there not in (None, digest):
        remedy = "nothing is overwritten: give another place, or remove that one"
        raise TakenError(f"{prefix.where_is(key)}: is there already, with another content", remedy=remedy)
    return f"s3://{key}"


def _published(prefix: Prefix, key: str) -> str | None:
    """The sha256 that an object was published with, empty if something else put it there; None if it is not there."""
    said = prefix.find(key)
    return None if said is None else said.get("Metadata", {}).get(SHA256, "")


def _put(prefix: Prefix, method: str, key: str, content: bytes, **arguments: Any) -> dict[str, Any]:
    """Sends bytes with their md5, by which the server refuses them damaged."""
    md5 = base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
    return prefix.ask(method, key, passing=OVERTAKEN, Body=content, ContentMD5=md5, **arguments)


def _publish_parts(prefix: Prefix, key: str, path: Path, digest: str) -> None:
    """Publishes a large file; parts that a killed upload of it sent are not sent again.

    Only an object that is named by its content goes on from there: of another, nobody knows what was sent.
    """
    size = path.stat().st_size
    length = max(PART, math.ceil(size / MOST_PARTS))
    upload = _unfinished(prefix, key) if key.endswith(digest) else None
    if upload is None:
        upload = prefix.ask("create_multipart_upload", key, Metadata={SHA256: digest})["UploadId"]
        sent = {}
    else:
        sent = _sent(prefix, key, upload)

    def send(number: int) -> dict[str, Any]:
        with prefix.large, path.open("rb") as file:
            file.seek((number - 1) * length)
            content = file.read(length)
            etag = sent.get(number)
            if etag != hashlib.md5(content, usedforsecurity=False).hexdigest():
                etag = _put(prefix, "upload_part", key, content, UploadId=upload, PartNumber=number)["ETag"]
        return {"PartNumber": number, "ETag": etag}

    with Pool(FILES_AT_ONCE) as pool:
        parts = list(pool.map(send, range(1, math.ceil(size / length) + 1)))
    complete = {"UploadId": upload, "MultipartUpload": {"Parts": parts}, "IfNoneMatch": "*"}
    prefix.ask("complete_multipart_upload", key, passing=OVERTAKEN, **complete)


def _unfinished(prefix: Prefix, key: str) -> str | None:
    """The upload of an object that was begun last and not completed."""
    said = prefix.ask("list_multipart_uploads", key, Prefix=key.partition("/")[2])
    uploads = [upload for upload in said.get("Uploads", ()) if upload["Key"] == key.partition("/")[2]]
    return max(uploads, key=lambda upload: upload["Initiated"])["UploadId"] if uploads else None


def _sent(prefix: Prefix, key: str, upload: str) -> dict[int, str]:
    """The etag of each part of an upload that is there."""
    sent: dict[int, str] = {}
    page: dict[str, Any] = {"IsTruncated": True, "NextPartNumberMarker": 0}
    while page.get("IsTruncated"):
        page = prefix.ask("list_parts", key, UploadId=upload, PartNumberMarker=page["NextPartNumberMarker"])
        sent |= {part["PartNumber"]: part["ETag"].strip('"') for part in page.get("Parts", ())}
    return sent
