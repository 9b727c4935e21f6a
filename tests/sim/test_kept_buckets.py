"""A bucket that is kept is closed, though its server was away when its record went."""

from controlplane.engine.sweep import PERIOD_S, UNSEEN_MAX
from controlplane.records import Key
from resources.meta import PLATFORM_NAMESPACE
from tests.sim.stage import READY_S, Stage
from tests.sim.worlds import example
from tests.support.virtual import run

SERVER = Key("Platform", PLATFORM_NAMESPACE, "s3")


def test_a_bucket_kept_while_its_server_had_no_record_is_closed_when_it_is_back() -> None:
    async def main() -> None:
        stage = Stage()
        platform = stage.platform
        server = platform.s3.anywhere
        assert server is not None
        async with stage.supervised():
            await platform.settle(2)
            spec = {**example("Bucket")["spec"], "publicRead": True}
            record = await stage.make("Bucket", spec)
            await platform.settle(READY_S)
            (name,) = server.buckets
            found = server.buckets[name]
            found.objects.append("precious")
            assert found.state.policy is not None
            assert found.state.lifecycle
            first = stage.spec(SERVER)
            await platform.delete(SERVER)
            await platform.settle(READY_S)
            await platform.delete(record)
            await platform.settle(READY_S)
            assert (platform.find(SERVER), platform.find(record)) == (None, None)

            await platform.apply("Platform", "s3", within=PLATFORM_NAMESPACE, **first)
            await platform.settle(READY_S + PERIOD_S)
            closed = found.state
            assert closed.policy is None
            assert not closed.lifecycle
            assert found.objects == ["precious"]
            assert server.users == {}

    run(main)


def test_however_many_were_kept_they_are_closed() -> None:
    """Their namespace is in the database: it is no wrong one."""

    async def main() -> None:
        stage = Stage()
        platform = stage.platform
        server = platform.s3.anywhere
        assert server is not None
        async with stage.supervised():
            spec = {"publicRead": True, "accessKeys": []}
            made = [await stage.make("Bucket", spec, f"b{n}") for n in range(UNSEEN_MAX + 1)]
            await platform.settle(READY_S)
            first = stage.spec(SERVER)
            await platform.delete(SERVER)
            await platform.settle(READY_S)
            for record in made:
                await platform.delete(record)
            await platform.settle(READY_S)
            states = [each.state for each in server.buckets.values()]
            assert [state.policy is None for state in states] == [False] * len(made)

            await platform.apply("Platform", "s3", within=PLATFORM_NAMESPACE, **first)
            await platform.settle(READY_S + PERIOD_S)
            states = [each.state for each in server.buckets.values()]
            assert [state.policy is None for state in states] == [True] * len(made)

    run(main)
