"""keyroll-sandbox as a fleet: the same interface as fleet.MotoFleet, with the sandbox's own books.

The sandbox simulates IAM, STS, S3 and the instances, checks signatures, clock and key states, delays new keys, and counts
outages; tests/sandbox/README.md describes its options and its control API.
"""
import csv
import json
from pathlib import Path

import requests

from . import ledger
from .fleet import COLUMNS, noon_zone
from .processes import clean_environment, wait_for
from .programs import binary
from .servers import Server


class SandboxFleet(Server):
    """Starts keyroll-sandbox with count licences; a context. options: further command line options, name -> value."""

    ready_timeout_s = 30

    def __init__(self, folder, count, name="sandbox", **options):
        folder = Path(folder) / name
        folder.mkdir(parents=True, exist_ok=True)
        self.endpoints_file, self.inventory_folder = folder / "endpoints.json", folder / "inventory"
        argv = [binary("keyroll-sandbox"), "--listen", "127.0.0.1:0", "--licences", count, "--endpoints-file", self.endpoints_file,
                "--write-inventory", self.inventory_folder, "--die-with-parent"]
        for option, value in options.items():
            argv += [f"--{option.replace('_', '-')}"] + ([] if value is True else [value])
        super().__init__(name, argv, folder, clean_environment())
        self.endpoints, self.first = {}, {}

    def ready(self):
        try:
            self.endpoints = json.loads(self.endpoints_file.read_text())
        except (OSError, ValueError):
            return False
        return bool(self.endpoints)

    def start(self):
        super().start()
        self.first = {name: book["stored_key_id"] for name, book in self.control("GET", "books")["licences"].items()}
        self.names = sorted(self.first)
        self.write_inventory(self.rows())
        return self

    @property
    def url(self):
        return self.endpoints["url"]

    @property
    def inventory(self):
        return self.inventory_folder / "inventory.csv"

    def control(self, method, call, body=None, **params):
        """Calls /_control/CALL. Returns its JSON."""
        answer = requests.request(method, f"{self.url}/_control/{call}", params=params, timeout=60,
                                  data=None if body is None else json.dumps(body))
        if not answer.ok:
            raise RuntimeError(f"{method} {call}: {answer.status_code} {answer.text[:300]}")
        return answer.json()

    def summary(self):
        """Returns the totals: rotated, outages, orphan_keys, unexplained_keys, creates and so on."""
        return self.control("GET", "books", summary=1)

    def fault(self, *rules):
        return self.control("POST", "faults", list(rules))

    def settings(self, **settings):
        return self.control("POST", "settings", settings)

    def instance(self, licence, key=None, **flags):
        """Sets flags of one instance; key: "none", "restore-previous" or {"access_key_id":, "secret":}."""
        body = {"licence": licence, "set": flags}
        return self.control("POST", "instance", {**body, "key": key} if key else body)

    def rows(self):
        """Returns the inventory's rows as dictionaries."""
        with self.inventory.open(newline="") as file:
            return list(csv.DictReader(file))

    def write_inventory(self, rows):
        """Writes the inventory anew, in a time zone where it is about noon: no quiet hours now."""
        with self.inventory.open("w", newline="") as out:
            writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows({**row, "time_zone": noon_zone()} for row in rows)

    # What Deployment asks of a fleet.

    def aws_environment(self):
        pair = self.endpoints["rotator"]
        return {"AWS_ENDPOINT_URL": self.url, "AWS_REGION": self.endpoints["region"], "AWS_ACCESS_KEY_ID": pair["access_key_id"],
                "AWS_SECRET_ACCESS_KEY": pair["secret_access_key"]}

    def secrets(self):
        given = self.control("GET", "secrets")
        found = {f"{key['user']}/{key['access_key_id']}": key["secret"] for key in given["keys"]}
        return {**found, **{f"password {index}": text for index, text in enumerate(given["passwords"])}}

    def holders(self):
        return [self.endpoints_file, self.inventory_folder]

    def books(self):
        """Returns the ledger's rows. The sandbox counts writes of a new pair, so a history is told from that count."""
        rows = []
        for name, book in self.control("GET", "books")["licences"].items():
            keys = {key["id"]: key["status"] for key in book["keys"] if key["status"] != "Deleted"}
            between = [f"key {index + 1}" for index in range(book["rotated"] - 1)]
            history = [self.first[name], *between] + ([book["stored_key_id"]] if book["rotated"] else [])
            rows.append(ledger.Licence(name, self.first[name], keys, history, book["outages"], book["creates"]))
        return rows

    def wait_rotated(self, count, timeout_s):
        """Waits until so many licences were rotated."""
        wait_for(f"{count} licences rotated", lambda: self.summary()["rotated_licences"] >= count, timeout_s, poll_s=0.1,
                 alive=self)
