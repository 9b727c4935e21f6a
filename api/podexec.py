"""`kubectl exec` and `attach`: a process's input, output and end over a WebSocket."""

from functools import partial
from typing import Final

from aiohttp import web

from api import audit, channels, errors
from api.channels import V4, V5
from api.context import Call
from api.podpaths import authorized, container_of, opened, pod_path, ref_of
from api.podsockets import Session, protocol_of, upgraded
from api.routes import Route
from controlplane.errors import RetryableError
from controlplane.streams import Channel, Command, Stream

_SPOKEN: Final = (V5, V4)
_MAX_ARGS: Final = 1024


def command_of(call: Call) -> Command:
    """What to run. Raises StatusError 400."""
    argv = tuple(call.request.query.getall("command", []))
    if not argv or len(argv) > _MAX_ARGS:
        raise errors.bad_request(f"say what to run: 1 to {_MAX_ARGS} command parameters")
    if not any(call.flag(name) for name in ("stdin", "stdout", "stderr")):
        raise errors.bad_request("you must specify at least 1 of stdin, stdout, stderr")
    return Command(argv, stdin=call.flag("stdin"), tty=call.flag("tty"))


async def run(call: Call) -> web.StreamResponse:
    """A command in a Pod. Raises StatusError before the upgrade."""
    pod = authorized(call, "create", "exec")
    container_of(call, pod)
    command = command_of(call)
    protocol = protocol_of(call, _SPOKEN)
    assert call.ctx.streams is not None
    arguments = len(command.argv) - 1
    program = command.argv[0].rpartition("/")[2][:64]
    told = f"ran {program!r} ({arguments} argument{'' if arguments == 1 else 's'})"
    await audit.tell(call, pod, "CommandRun", told)
    stream = await opened(pod, call.ctx.streams.open_exec(ref_of(pod), command))
    return await _over(call, protocol, "pods/exec", stream)


async def attach(call: Call) -> web.StreamResponse:
    """What a Pod's process writes from now on. Raises StatusError before the upgrade."""
    pod = authorized(call, "create", "attach")
    container_of(call, pod)
    protocol = protocol_of(call, _SPOKEN)
    assert call.ctx.streams is not None
    await audit.tell(call, pod, "Attached", "attached to the process")
    stdin = call.flag("stdin")
    stream = await opened(pod, call.ctx.streams.open_attach(ref_of(pod), stdin=stdin))
    return await _over(call, protocol, "pods/attach", stream)


async def _over(call: Call, protocol: str, resource: str, stream: Stream) -> web.StreamResponse:
    wanted = {channel for name, channel in _OUTPUTS.items() if call.flag(name)}
    try:
        return await upgraded(call, protocol, resource, partial(_relay, stream=stream, only=wanted))
    finally:
        await stream.aclose()


_OUTPUTS: Final = {"stdout": Channel.STDOUT, "stderr": Channel.STDERR}


async def _relay(session: Session, *, stream: Stream, only: set[Channel]) -> None:
    await session.run(_output(session, stream, only), _input(session, stream))


async def _output(session: Session, stream: Stream, only: set[Channel]) -> None:
    """What it writes, then how it ended."""
    try:
        while (frame := await stream.read()) is not None:
            if frame.channel in only or frame.channel is Channel.EXIT:
                await session.send(channels.encode(frame))
            if frame.channel is Channel.EXIT:
                return
        await session.send(channels.ended(0))
    except RetryableError as exc:
        await session.send(channels.broken(str(exc)))


async def _input(session: Session, stream: Stream) -> None:
    while (message := await session.receive()) is not None:
        frame = channels.decode(message, session.protocol)
        if frame is not None:
            await stream.write(frame)


ROUTES: Final = tuple(
    Route(method, pod_path(name), handler, streams=True, resource=f"pods/{name}")
    for name, handler in (("exec", run), ("attach", attach))
    for method in ("GET", "POST")
)
"""POST as well: kubectl falls back to it, and then shows what its answer says."""
