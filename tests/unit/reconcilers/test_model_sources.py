"""Where a Model comes from: web servers, Buckets and registries, and what opens them."""

from dataclasses import replace

import pytest

from controlplane.errors import TerminalError
from controlplane.plan import Binding, Resolved
from reconcilers._modelplan import EnsureModel
from reconcilers._modelsource import authorization, manifest_url
from tests.unit.reconcilers.models import URL, model, world


async def test_a_source_asks_for_what_its_secret_says() -> None:
    made = await world()
    wanted = model(source={"url": URL, "secretRef": {"name": "hub"}})
    await made.settle(wanted)
    plan, _ = await made.look(wanted)
    assert plan.wait is not None
    assert plan.wait.reason == "SecretMissing"
    made.values.data[("Secret", "hub")] = {"token": b"hush"}
    plan, _ = await made.look(wanted)
    step = plan.steps[0]
    assert isinstance(step, EnsureModel)
    assert "hush" not in repr(plan)
    await made.settle(wanted)
    held = next(iter(made.llamacpp.held.values()))
    assert held.order.headers == {"Authorization": "Bearer hush"}
    assert "hush" not in repr(held.order)


async def test_an_object_of_a_bucket_is_fetched_by_a_link_that_opens_for_an_hour() -> None:
    made = await world()
    wanted = model(source={"bucketRef": {"name": "files", "key": "a/tiny.gguf"}})
    bucket = Resolved("Bucket", "files", "b", False, "Bucket 'files' is not ready")
    made.refs["spec.source.bucketRef"] = bucket
    await made.settle(wanted)
    plan, _ = await made.look(wanted)
    assert plan.wait is not None
    assert (plan.wait.reason, plan.wait.message) == ("BucketNotReady", bucket.message)
    made.refs["spec.source.bucketRef"] = replace(
        bucket, binding=Binding("files-default", "h"), status={"bucket": "shop-files"}
    )
    values = {"endpoint": "http://s3:8333", "access-key": "AK", "secret-key": "SK", "region": "x"}
    made.values.data[("Secret", "files-default")] = {k: v.encode() for k, v in values.items()}
    plan, _ = await made.look(wanted)
    assert "SK" not in repr(plan)
    await made.settle(wanted)
    url = next(iter(made.llamacpp.held.values())).order.url
    assert url.startswith("http://s3:8333/shop-files/a/tiny.gguf?X-Amz-Algorithm=")
    assert "X-Amz-Expires=3600" in url


def test_credentials_are_a_token_or_a_pair() -> None:
    assert authorization("x", {"token": b"t\n"}) == "Bearer t"
    assert authorization("x", {"username": b"me", "password": b"pw"}) == "Basic bWU6cHc="
    for bad in ({}, {"username": b"me"}, {"token": b"a\nb"}):
        with pytest.raises(TerminalError, match="token"):
            authorization("x", bad)


def test_an_image_is_found_in_its_registry() -> None:
    digest = "sha256:" + "0" * 64
    assert manifest_url("reg.test/a/b:1", plain=False) == "https://reg.test/v2/a/b/manifests/1"
    assert manifest_url("reg:5000/a", plain=True) == "http://reg:5000/v2/a/manifests/latest"
    assert manifest_url(f"localhost/a:1@{digest}", plain=True).endswith(f"/a/manifests/{digest}")
    for bad in ("tiny:1", "team/tiny"):
        with pytest.raises(TerminalError, match="registry"):
            manifest_url(bad, plain=False)
