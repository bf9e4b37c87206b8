"""A small Synergist of our own for tests, written from the vendor's public API pages and not from the C sandbox.

One process (server.py) plays many instances, each under /LICENCE/. Instances is the test's handle on it.
"""
import json
import sys
from pathlib import Path

import requests
import urllib3

from ..processes import clean_environment, free_port
from ..servers import Server

urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)  # the admin calls to our own loopback server
HERE = Path(__file__).resolve().parent


class Instances(Server):
    """Starts the instances. licences: {name: {user, password, bucket, region, key_id, secret, ...}}, see server.Instance.

    tls: (certificate file, key file) for https. uses_per_s: how often all instances together use their stored keys.
    """

    def __init__(self, folder, licences, s3_url, tls=None, uses_per_s=20, name="synergist"):
        self.port = free_port()
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self.tls = tls
        folder = Path(folder) / name
        folder.mkdir(parents=True, exist_ok=True)
        self.config = folder / "config.json"
        self.config.touch(0o600)
        self.config.write_text(json.dumps({"port": self.port, "s3_url": s3_url, "tls": [str(part) for part in tls or ()],
                                           "uses_per_s": uses_per_s, "licences": licences}))
        super().__init__(name, [sys.executable, HERE / "server.py", self.config], folder, clean_environment())

    def instance_url(self, licence):
        return f"{self.url}/{licence}"

    def _admin(self, method, path, **options):
        answer = requests.request(method, f"{self.url}/_admin/{path}", timeout=30, verify=False, **options)
        answer.raise_for_status()
        return answer.json()

    def ready(self):
        try:
            return self._admin("GET", "ready")["ready"]
        except requests.RequestException:
            return False

    def books(self):
        """Returns {licence: {key_id, history, writes, reads, tests, logins_refused, uses, outages, secret_in_url, ...}}."""
        return self._admin("GET", "books")

    def secrets(self):
        """Returns every secret that any instance ever held: {licence/key id: secret}. For the search for leaks."""
        return self._admin("GET", "secrets")

    def fault(self, licence, **faults):
        """Sets faults of one instance, see server.FAULTS; a number counts down with each use, True stays."""
        return self._admin("POST", f"fault/{licence}", json=faults)

    def paste(self, licence, key_id, secret):
        """Does what a person does in System Parameters."""
        return self._admin("POST", f"paste/{licence}", json={"key_id": key_id, "secret": secret})
