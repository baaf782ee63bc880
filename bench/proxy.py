"""nginx before a front: one worker, with and without TLS, configured only as far as proxied websockets need."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench.crowd import HOST, Address
from bench.house import Process, free_port, wait_until

CONFIGURATION = """
daemon off;
worker_processes 1;
worker_rlimit_nofile {files};
error_log stderr;
pid {directory}/nginx.pid;
events {{ worker_connections {files}; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen {host}:{plain};
        listen {host}:{encrypted} ssl;
        ssl_certificate {directory}/certificate.pem;
        ssl_certificate_key {directory}/key.pem;
        location / {{
            proxy_pass http://{host}:{front};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
        }}
    }}
}}
"""


class Proxy(NamedTuple):
    """A running nginx, and its addresses."""

    process: Process
    plain: Address
    encrypted: Address


def can_run() -> bool:
    return all(map(shutil.which, ("nginx", "openssl")))


@contextlib.contextmanager
def proxy(front: Address, files: int) -> Iterator[Proxy]:
    """Run nginx before a front, with a limit of `files` open files."""
    plain, encrypted = Address(free_port()), Address(free_port(), is_encrypted=True)
    with tempfile.TemporaryDirectory(prefix="gischat-nginx-") as directory:
        _make_certificate(directory)
        configuration = Path(directory) / "nginx.conf"
        configuration.write_text(
            CONFIGURATION.format(
                directory=directory,
                files=files,
                host=HOST,
                plain=plain.port,
                encrypted=encrypted.port,
                front=front.port,
            )
        )
        command = ["nginx", "-e", "stderr", "-p", directory, "-c", str(configuration)]
        process = Process(command, os.environ, Path(directory))
        try:
            process.start()
            wait_until(lambda: _answers(encrypted), "nginx answers")
            yield Proxy(process, plain, encrypted)
        finally:
            process.stop()


def _answers(address: Address) -> bool:
    with socket.create_connection((HOST, address.port)):
        return True


def _make_certificate(directory: str) -> None:
    """Make a certificate with an elliptic-curve key, as Let's Encrypt's are by default."""
    key, certificate = f"{directory}/key.pem", f"{directory}/certificate.pem"
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=localhost"]
    command = ["openssl", "req", "-x509", *kind, "-days", "1", "-keyout", key, "-out", certificate]
    subprocess.run(command, check=True, capture_output=True)
