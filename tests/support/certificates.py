"""Certificates of a test certificate authority."""

from pathlib import Path

import trustme


class Certificates:
    """PEM files: the authority's certificate, and one for the loopback that both servers and clients use."""

    def __init__(self, directory: Path) -> None:
        self.authority = directory / "authority.pem"
        self.certificate = directory / "certificate.pem"
        self.key = directory / "key.pem"
        authority = trustme.CA()
        issued = authority.issue_cert("127.0.0.1", "localhost")
        authority.cert_pem.write_to_path(str(self.authority))
        issued.private_key_pem.write_to_path(str(self.key))
        for blob in issued.cert_chain_pems:
            blob.write_to_path(str(self.certificate), append=True)
