"""Services that speak TLS to servers outside know the public authorities."""

import io
import re
import ssl
import tarfile
from collections.abc import Iterator

import docker
import pytest

from reconcilers._images import service_image

pytestmark = pytest.mark.docker
LABEL = "bunker-test-authorities"


@pytest.fixture
def engine() -> Iterator[docker.DockerClient]:
    client = docker.from_env()
    try:
        yield client
    finally:
        for left in client.containers.list(all=True, filters={"label": LABEL}):
            left.remove(force=True)
        client.close()


@pytest.mark.parametrize("image", ["traefik", "alertmanager", "mail", "registry"])
def test_an_image_knows_lets_encrypt(engine: docker.DockerClient, image: str) -> None:
    reference = service_image(image, source="local").reference
    made = engine.containers.create(reference, labels={LABEL: "1"}, network_disabled=True)
    chunks, _ = made.get_archive("/etc/ssl/certs/ca-certificates.crt")
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
        (entry,) = archive.getmembers()
        file = archive.extractfile(entry)
        assert file is not None
        text = file.read().decode()
    whole = "-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----"
    known = [ssl.PEM_cert_to_DER_cert(each) for each in re.findall(whole, text)]
    for name in (b"ISRG Root X1", b"ISRG Root X2"):
        assert any(name in each for each in known)
