"""Real proxies: a base class, and nginx with our site or another one."""

import http.client
import os
import shutil
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

import trustme

from tests.support import fork_server
from tests.support.processes import HOST, Port, Process

NAME = "localhost"
FRAME_SIZE = 20_000  # bytes, of the fronts behind proxies
BELOW = "/chat"  # their path, of a site that has others
ELSEWHERE = "127.0.0.9"  # an address of this machine that only these tests use

# Debian's nginx.conf around a site, reduced to what works without root.
AROUND = """
daemon off;
{user}
pid {directory}/pid;
error_log stderr;
events {{ worker_connections 1024; }}
http {{
    {habits}
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    include {directory}/site.conf;
}}
"""


class ProxyServer(Process):
    """A proxy that listens on these ports within the context."""

    def __init__(self, directory: Path, command: Sequence[str], *ports: Port) -> None:
        self._ports = ports
        super().__init__(Path(command[0]).name, list(command), {}, directory)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._ports[0].number}"

    def __enter__(self) -> Self:
        for port in self._ports:
            port.release()
        self.start()
        while not all(_listens(port.number) for port in self._ports):
            assert not self.ends_within(0.03), self.whole_log()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Nginx(ProxyServer):
    """nginx with one site file."""

    HABITS = ""  # an operator's settings for all sites

    def __init__(self, directory: Path, site: str, *ports: Port) -> None:
        (directory / "site.conf").write_text(site)
        user = "user root root;" if os.geteuid() == 0 else ""
        configuration = directory / "nginx.conf"
        configuration.write_text(AROUND.format(directory=directory, user=user, habits=self.HABITS))
        command = [executable(), "-p", str(directory), "-e", "stderr", "-c", str(configuration)]
        super().__init__(directory, command, *ports)


class Https:
    """Requests to a proxy over HTTPS, with a certificate of this authority."""

    def certify(self, directory: Path) -> Port:
        """Write fullchain.pem and privkey.pem to a directory; returns the port to listen on."""
        port, self.authority = Port(), trustme.CA()
        self.https_port = port.number
        certificate = self.authority.issue_cert(NAME)
        for blob in certificate.cert_chain_pems:
            blob.write_to_path(directory / "fullchain.pem", append=True)
        certificate.private_key_pem.write_to_path(directory / "privkey.pem")
        return port

    @property
    def url(self) -> str:
        return f"https://{NAME}:{self.https_port}"

    @property
    def trusting(self) -> ssl.SSLContext:
        """A context that trusts only this site's certificate."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context

    def ask(
        self, path: str, *, method: str = "GET", body: bytes | None = None
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """The status, headers and body of an answer."""
        connection = http.client.HTTPSConnection(NAME, self.https_port, timeout=30, context=self.trusting)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()


class Site(Https, Nginx):
    """Our site, before fronts at these addresses."""

    HABITS = "charset utf-8; charset_types *; gzip on; gzip_types *;"

    def __init__(self, directory: Path, fronts: Sequence[str]) -> None:
        http_port, https_port = Port(), self.certify(directory)
        self.http_port = http_port.number
        self.webroot = directory / "webroot"
        self.webroot.mkdir()
        arguments = [NAME, *fronts, "--certificates", str(directory), "--logs", str(directory)]
        arguments += ["--webroot", str(self.webroot)]
        arguments += ["--http-port", str(self.http_port), "--https-port", str(self.https_port)]
        super().__init__(directory, site(*arguments, MAX_FRAME_SIZE=str(FRAME_SIZE)), http_port, https_port)


def executable(name: str = "nginx") -> str:
    """A server's executable; Debian installs servers in a directory that only root's PATH contains."""
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))
    assert found, f"there is no {name}: tests/install-tools installs it"
    return found


def site(*arguments: str, **settings: str) -> str:
    """The site file, as operators generate it."""
    ran = fork_server.run("-m", "gischat", "nginx", *arguments, ENV_FILE=os.devnull, **settings)
    ran.check_returncode()
    return ran.stdout


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False
