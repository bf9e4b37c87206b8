"""Certificates for tests: an authority of our own and server certificates with a chosen validity."""
import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Authority:
    """Makes ca.pem in the folder; certificate() makes a server's pair signed by it."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        self.path = self.folder / "ca.pem"
        self.path.write_bytes(self._sign(self.name, self.key, 3650, authority=True).public_bytes(serialization.Encoding.PEM))

    def _sign(self, subject, key, days, authority=False, hosts=("127.0.0.1",)):
        """days: until the end of its validity; negative: it ended so many days ago."""
        now = datetime.datetime.now(datetime.timezone.utc)
        end = now + datetime.timedelta(days=days)
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host)) if host[0].isdigit()
                                             else x509.DNSName(host) for host in hosts])
        return (x509.CertificateBuilder().subject_name(subject).issuer_name(self.name).public_key(key.public_key())
                .serial_number(x509.random_serial_number()).not_valid_before(min(now, end) - datetime.timedelta(days=30))
                .not_valid_after(end).add_extension(names, critical=False)
                .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
                .sign(self.key, hashes.SHA256()))

    def certificate(self, name="server", days=30, host="127.0.0.1", hosts=None):
        """Returns the paths (certificate, key) of a new server certificate for one host, or for several names."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        paths = self.folder / f"{name}.pem", self.folder / f"{name}-key.pem"
        paths[0].write_bytes(self._sign(subject, key, days, hosts=hosts or [host]).public_bytes(serialization.Encoding.PEM))
        paths[1].touch(0o600)
        paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                               serialization.NoEncryption()))
        return paths
