"""What tests of several modules use: an S3 server, and a proxy before it that injects faults."""

from __future__ import annotations

import logging

import boto3
import pytest
from moto.server import ThreadedMotoServer

from lvdm.storage import bucket
from lvdm.workspace import Workspace

from .faulty_proxy import faulty_proxy


@pytest.fixture(scope="session")
def server():
    """A bucket `raw`: its client, which meets no faults, and the proxy, which everything else goes through."""
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    moto.start()
    host, port = moto.get_host_and_port()
    client = boto3.client("s3", endpoint_url=f"http://{host}:{port}")
    client.create_bucket(Bucket="raw")
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    with faulty_proxy((host, port)) as proxy:
        yield client, proxy
    client.close()
    moto.stop()


@pytest.fixture
def s3(server, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server[1].url)
    return server[0]


@pytest.fixture
def proxy(server, monkeypatch):
    monkeypatch.setattr(bucket, "PAUSE", 0.001)
    proxy = server[1]
    proxy.seen.clear()
    yield proxy
    proxy.fault = lambda method, path: ""


@pytest.fixture
def workspace(tmp_path):
    return Workspace.at(tmp_path)
