"""A way to the engine that can be cut, as when the engine is away."""

import shutil
import socket
import tempfile
import threading

ENGINE_SOCKET = "/var/run/docker.sock"


class Proxy:
    """A socket in front of the engine's that can be cut."""

    def __init__(self) -> None:
        self.folder = tempfile.mkdtemp()
        self.path = f"{self.folder}/docker.sock"
        self.open = True
        self._pairs: list[socket.socket] = []
        self._pumps: list[threading.Thread] = []
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._server.bind(self.path)
        self._server.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self.open = False
        for end in self._pairs:
            with_shutdown(end)
        self._pairs.clear()

    def mend(self) -> None:
        self.open = True

    def close(self) -> None:
        self.cut()
        with_shutdown(self._server)
        self._server.close()
        for pump in self._pumps:
            pump.join(5)
        shutil.rmtree(self.folder)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            if not self.open:
                near.close()
                continue
            far = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            far.connect(ENGINE_SOCKET)
            self._pairs += [near, far]
            for one, other in ((near, far), (far, near)):
                pump = threading.Thread(target=self._pump, args=(one, other), daemon=True)
                self._pumps.append(pump)
                pump.start()

    @staticmethod
    def _pump(one: socket.socket, other: socket.socket) -> None:
        try:
            while data := one.recv(65536):
                other.sendall(data)
        except OSError:
            pass
        finally:
            with_shutdown(other)
            one.close()


def with_shutdown(end: socket.socket) -> None:
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
