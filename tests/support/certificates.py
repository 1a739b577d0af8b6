"""A certificate authority of the tests' own, with a chain as real ones have it."""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files as the server takes them, and what a client trusts."""

    chain: Path
    key: Path
    root: Path

    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.root))


def make_certificates(directory: Path) -> Certificates:
    """A root, an authority below it and, signed by that, a certificate for 127.0.0.1 and localhost."""
    root_key, root = _issue("test root", None, None, authority=True)
    middle_key, middle = _issue("test authority", root, root_key, authority=True)
    key, leaf = _issue("localhost", middle, middle_key, authority=False)
    made = Certificates(directory / "chain.pem", directory / "key.pem", directory / "root.pem")
    pem = serialization.Encoding.PEM
    made.chain.write_bytes(leaf.public_bytes(pem) + middle.public_bytes(pem))
    made.root.write_bytes(root.public_bytes(pem))
    made.key.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    made.key.chmod(0o600)
    return made


def _issue(
    name: str,
    issuer: x509.Certificate | None,
    issuer_key: ec.EllipticCurvePrivateKey | None,
    *,
    authority: bool,
) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    signer = (issuer_key or key).public_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.KeyUsage(True, False, False, False, False, authority, authority, False, False), critical=True
        )
    )
    if not authority:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return key, builder.sign(issuer_key or key, hashes.SHA256())
