"""Redis on loopback: a process of its own, with or without a password and TLS, that can be stopped and started anew."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

from typing_extensions import Self

from harness.loopback import free_port

__all__ = ["RedisServer", "certificates"]


class RedisServer:
    """A server that keeps nothing when it is stopped; as a context manager it runs inside the block.

    Args:
        directory: for its log.
        password: what a client has to know, if anything.
        tls: the folder of the certificates it shows and asks for, if it is to speak TLS only.
    """

    def __init__(self, directory: Path, *, password: str | None = None, tls: Path | None = None) -> None:
        self.port = free_port()
        self._directory = directory
        self._password = password
        self._tls = tls
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, without any keys."""
        program = shutil.which("redis-server")
        assert program is not None, "redis-server is missing; .ci/system_packages installs it"
        port = ["--port", str(self.port)]
        if self._tls is not None:
            files = {"cert": "server.crt", "key": "server.key", "ca-cert": "ca.crt"}
            named = [word for kind, file in files.items() for word in (f"--tls-{kind}-file", str(self._tls / file))]
            port = ["--port", "0", "--tls-port", str(self.port), "--tls-auth-clients", "yes", *named]
        password = ["--requirepass", self._password] if self._password else []
        rest = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(self._directory)]
        with (self._directory / "redis.log").open("ab") as log:
            self._process = subprocess.Popen([program, *port, *password, *rest], stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert self._process.poll() is None and time.monotonic() < deadline, "redis-server did not start"
                time.sleep(0.01)

    def stop(self) -> None:
        """Kill it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(30)

    def connection(self, port: int | None = None, **changes: Any) -> str:
        """Return an Airflow connection to it, or to a port before it, as the value of an environment variable."""
        found: dict[str, Any] = {"conn_type": "redis", "host": "localhost", "port": port or self.port}
        if self._password:
            found["password"] = self._password
        if self._tls is not None:
            files = {"ssl_ca_certs": "ca.crt", "ssl_certfile": "client.crt", "ssl_keyfile": "client.key"}
            found["extra"] = {"ssl": True, **{name: str(self._tls / file) for name, file in files.items()}}
        return json.dumps({**found, **changes})

    def content(self) -> bytes:
        """Return all keys, each with its value, as text."""
        import redis

        with redis.Redis("127.0.0.1", self.port, password=self._password) as client:
            return repr({key: client.get(key) for key in client.scan_iter()}).encode()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()


def certificates(directory: Path) -> Path:
    """Make an authority, and certificates of it for a server on localhost and a client; return their folder."""
    directory.mkdir(parents=True, exist_ok=True)

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=directory, check=True, capture_output=True, env={**os.environ, "HOME": "/"})

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    authority = ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign"]
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=kart tests", "-days", "2", *authority)
    for name in ("server", "client"):
        openssl("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (directory / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1")
        signed = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names"]
        openssl("x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.crt", *signed)
    return directory
