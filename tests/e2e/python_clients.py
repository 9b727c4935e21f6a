"""Logs, commands and ports through other people's Python clients; a program, asserting as it goes.

python -m tests.e2e.python_clients kubernetes|kr8s KUBECONFIG NAMESPACE WEB TALKER
"""

import sys

import kr8s
from kubernetes import client, config
from kubernetes.stream import portforward, stream


def with_kubernetes(kubeconfig: str, namespace: str, web: str, talker: str) -> None:
    """The official client speaks v4 of the channel protocol, and channels instead of a tunnel."""
    v1 = client.CoreV1Api(config.new_client_from_config(kubeconfig))
    shell = stream(
        v1.connect_get_namespaced_pod_exec,
        web,
        namespace,
        command=["sh"],
        stdin=True,
        stdout=True,
        stderr=True,
        tty=False,
        _preload_content=False,
    )
    shell.write_stdin("echo from-stdin; exit 5\n")
    shell.run_forever(timeout=10)
    assert (shell.read_stdout(), shell.returncode) == ("from-stdin\n", 5)
    ports = portforward(v1.connect_get_namespaced_pod_portforward, web, namespace, ports="8080")
    connection = ports.socket(8080)
    connection.setblocking(True)
    connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
    assert connection.recv(8) == b"HTTP/1.0"
    assert v1.read_namespaced_pod_log(talker, namespace, tail_lines=2).count("\n") == 2


def with_kr8s(kubeconfig: str, namespace: str, web: str, talker: str) -> None:
    api = kr8s.api(kubeconfig=kubeconfig)
    pods = {pod.name: pod for pod in api.get("pods", namespace=namespace)}
    assert pods[web].ready()
    assert pods[web].exec(["echo", "hi"]).stdout == b"hi\n"
    assert len(list(pods[talker].logs(tail_lines=1))) == 1


if __name__ == "__main__":
    {"kubernetes": with_kubernetes, "kr8s": with_kr8s}[sys.argv[1]](*sys.argv[2:])
