"""Prometheus (Debian's package) as a server for tests: it scrapes what it is told to, and answers queries."""
from pathlib import Path

import requests
import yaml

from .processes import clean_environment, free_port
from .servers import Server


class Prometheus(Server):
    """targets: "host:port" addresses, scraped each second. rules: files of rules, evaluated each second.

    discovery: a file of targets (file_sd) that may change. written: takes samples with their own times (remote write).
    """

    ready_timeout_s = 30

    def __init__(self, folder, targets, rules=(), name="prometheus", discovery=None, written=False):
        folder = Path(folder) / name
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.at = None  # seconds since 1970: queries look at the world of then
        self.url = f"http://127.0.0.1:{self.port}"
        config = folder / "prometheus.yml"
        scrape = {"file_sd_configs": [{"files": [str(discovery)]}]} if discovery else {"static_configs": [{"targets": list(targets)}]}
        config.write_text(yaml.safe_dump({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(rule) for rule in rules],
            "scrape_configs": [{"job_name": "keyroll", **scrape}]}))
        super().__init__(name, ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder}/data",
                                f"--web.listen-address=127.0.0.1:{self.port}",
                                *["--web.enable-remote-write-receiver"] * written], folder, clean_environment())

    def ready(self):
        try:
            return requests.get(f"{self.url}/-/ready", timeout=5).ok
        except requests.RequestException:
            return False

    def get(self, path, **params):
        """Calls /api/v1/PATH. Returns its data; fails with Prometheus' own words."""
        answer = requests.get(f"{self.url}/api/v1/{path}", params=params, timeout=30)
        assert answer.ok, f"{path} {params}: {answer.text[:500]}"
        return answer.json()["data"]

    def query(self, expression):
        """Returns [(labels, value)] of an instant query."""
        return [(one["metric"], float(one["value"][1])) for one in self.get("query", query=expression, time=self.at)["result"]]
