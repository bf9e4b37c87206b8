#!/usr/bin/env python3
"""server.py CONFIG.json: many Synergist instances in one process, each under /LICENCE/jsonapi/AREA.json.

Each instance holds one key pair, signs S3 requests with it (botocore's signer, against the endpoint of the config), and
keeps books: which key ids it was given and when, how often it was called for what. One thread makes the instances use
their stored keys in turn, as live instances do; a refusal after a key was once accepted is an outage. The set-up and the
books are under /_admin/. Secrets are never logged and leave only by /_admin/secrets, which the search for leaks needs.
"""
import hashlib
import hmac
import http.client
import json
import os
import ssl
import sys
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import botocore.auth
import botocore.awsrequest
import botocore.credentials

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import wire  # noqa: E402

KEY_FIELD, SECRET_FIELD = "systemparameters_iamaccesskey", "systemparameters_iamsecretkey"
FIELDS = {  # of System Parameters: name -> (label, editable, type)
    "uuid": ("UUID", False, "text"),
    "systemparameters_versionno": ("Version", False, "number"),
    KEY_FIELD: ("IAM Access Key", True, "text"),
    SECRET_FIELD: ("Secret IAM key", True, "text"),
}
FAULTS = {
    "refuse_login": "404002 to every call",
    "disabled": "404003 to every call",
    "refuse_write": "the write is refused, without effect",
    "close_after_write": "the write takes effect, the connection closes without a reply",
    "close_before_write": "the connection closes without effect or reply",
    "refuse_test": "the test call fails",
    "unavailable": "503 and an HTML page to every call",
    "slow_s": "seconds that each call takes longer",
}


class Closed(Exception):
    """The connection is to be closed without a reply."""


def sign(method, url, pair, region, presign_s=None):
    """Signs one S3 request with botocore. Returns it; with presign_s its URL carries the signature and nothing else does."""
    request = botocore.awsrequest.AWSRequest(method=method, url=url)
    keys = botocore.credentials.Credentials(*pair)
    if presign_s:
        botocore.auth.S3SigV4QueryAuth(keys, "s3", region, expires=presign_s).add_auth(request)
    else:
        request.context["payload_signing_enabled"] = True
        botocore.auth.S3SigV4Auth(keys, "s3", region).add_auth(request)
    return request


class Instance:
    """One licence: its System Parameters, its login, its books. Locked by the caller through `lock`."""

    def __init__(self, name, settings, s3_url):
        self.name, self.s3_url = name, s3_url
        self.user, self.password = settings["user"], settings["password"]
        self.bucket, self.region = settings["bucket"], settings["region"]
        self.can_write = settings.get("can_write", True)  # may this login change System Parameters?
        self.can_read = settings.get("can_read", True)    # does the model show the key id?
        self.dialect = settings.get("dialect") or wire.DIALECTS[hashlib.md5(name.encode()).digest()[0] % len(wire.DIALECTS)]
        self.uuid = hashlib.md5(b"uuid" + name.encode()).hexdigest().upper()
        self.lock = threading.Lock()
        self.pair = None
        self.record_version = 1
        self.accepted = False
        self.history, self.kept_secrets, self.faults = [], {}, {}
        self.counts = dict.fromkeys(("calls", "writes", "writes_refused", "reads", "tests", "presigned", "logins_refused",
                                     "uses", "outages", "secret_in_url", "get_updates"), 0)
        self.outage_notes = []
        if settings.get("key_id"):
            self.store(settings["key_id"], settings["secret"], "set-up")

    def store(self, key_id, secret, how):
        self.pair = (key_id, secret)
        self.record_version += 1
        self.history.append({"key_id": key_id, "at": time.time(), "how": how})
        self.kept_secrets[key_id] = secret

    def fault(self, name):
        """True when the fault is set; a number counts down."""
        value = self.faults.get(name)
        if value and value is not True and name != "slow_s":
            self.faults[name] = value - 1
        return value

    def books(self):
        return {"key_id": self.pair[0] if self.pair else "", "history": self.history, "dialect": self.dialect,
                "outage_notes": self.outage_notes, **self.counts}

    # What the API does.

    def login(self, parameters):
        user, password = parameters.get("user"), parameters.get("password")
        hashed = parameters.get("sha512password")
        if not user or not (password or hashed):
            raise wire.ApiError(404001)
        expected = hashlib.sha512(self.password.encode()).hexdigest()
        good = hmac.compare_digest((hashed or hashlib.sha512(password.encode()).hexdigest()).lower().encode(), expected.encode())
        if self.fault("disabled"):
            self.counts["logins_refused"] += 1
            raise wire.ApiError(404003)
        if user != self.user or not good or self.fault("refuse_login"):
            self.counts["logins_refused"] += 1
            raise wire.ApiError(404002)
        if not parameters.get("version"):
            raise wire.ApiError(404004)

    def call(self, area, parameters, by_get):
        """Carries out one call. Returns an envelope; raises ApiError or Closed."""
        self.counts["calls"] += 1
        self.login(parameters)
        action = parameters.get("action", "").lower()
        actions = {"system": {"": self.read, "version": self.version, "update": self.update, "testaws": self.test},
                   "attachments": {"": self.attachments}}
        if area not in actions:
            raise wire.ApiError(404004)
        if action not in actions[area]:
            raise wire.ApiError(404500, f"invalid action {action}")
        if by_get and action == "update":
            self.counts["get_updates"] += 1
        return actions[area][action](parameters)

    def version(self, parameters):
        return wire.read_envelope([{"uuid": self.uuid, "systemparameters_versionno": 13.1, "systemparameters_versionrevision": "b",
                                    "variable_apiversion": "4.0"}])

    def read(self, parameters):
        if parameters.get("style", "modeldata").lower() == "modelstructure":
            rows = [{"data": name, "label": label, "align": "", "editable": editable, "fieldtype": kind, "displayorder": order,
                     "mandatory": False} for order, (name, (label, editable, kind)) in enumerate(FIELDS.items())]
            return {**wire.read_envelope(rows), "totalrows": 0}
        self.counts["reads"] += 1
        row = {"uuid": self.uuid, "systemparameters_versionno": 13.1, "systemRecordVersionNumber": self.record_version}
        if self.can_read:
            row[KEY_FIELD] = self.pair[0] if self.pair else ""
            row[SECRET_FIELD] = "********" if self.pair else ""
        return wire.read_envelope([row])

    def update(self, parameters):
        records = wire.parse_input(parameters.get("input", ""))
        record = records[0] if len(records) == 1 else {}
        if record.get("uuid", self.uuid) != self.uuid:
            raise wire.ApiError(404004)
        key_id, secret = record.get(KEY_FIELD), record.get(SECRET_FIELD)
        if not key_id or not secret:
            raise wire.ApiError(404500, "both IAM fields are needed")  # one half, or an identifier alone, would break the key
        if not self.can_write or self.fault("refuse_write"):
            self.counts["writes_refused"] += 1
            raise wire.ApiError(404500, "no permission to change System Parameters")
        if self.fault("close_before_write"):
            raise Closed
        self.counts["writes"] += 1
        self.store(key_id, secret, "api")
        if self.fault("close_after_write"):
            raise Closed
        return wire.write_envelope([{"uuid": self.uuid, "systemTimeStampModified": int(time.time()),
                                     "systemRecordVersionNumber": self.record_version}])

    def test(self, parameters):
        self.counts["tests"] += 1
        status, code = self.use() if self.pair else (0, "no key is stored")
        if status != 200 or self.fault("refuse_test"):
            raise wire.ApiError(404500, f"AWS test failed: {status} {code}")
        return wire.write_envelope([{"uuid": self.uuid, "systemparameters_awstest": "OK"}])

    def attachments(self, parameters):
        self.counts["presigned"] += 1
        urls = {"get": "", "put": ""}
        if self.pair:
            for method in urls:
                url = f"{self.s3_url}/{self.bucket}/drawing_1.pdf"
                urls[method] = sign(method.upper(), url, self.pair, self.region, presign_s=86400).url
        return wire.read_envelope([{"attachmentID": 1, "attachmentActivityID": 7160, "attachmentOriginalFilename": "drawing.pdf",
                                    "attachmentDescription": "a drawing", "attachmentUuid": self.uuid,
                                    "attachmentS3UrlGet": urls["get"], "attachmentS3UrlPut": urls["put"]}])

    def use(self):
        """Lists the bucket with the stored pair. Returns (HTTP status, AWS's error code)."""
        return list_bucket(self.s3_url, self.bucket, self.region, self.pair)


def list_bucket(s3_url, bucket, region, pair):
    request = sign("GET", f"{s3_url}/{bucket}?list-type=2&max-keys=1", pair, region).prepare()
    parts = urllib.parse.urlsplit(request.url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=20)
    try:
        connection.request("GET", f"{parts.path}?{parts.query}", headers=dict(request.headers.items()))
        answer = connection.getresponse()
        text = answer.read().decode("utf-8", "replace")
        code = text.split("<Code>")[1].split("</Code>")[0] if "<Code>" in text else ""
        return answer.status, code
    finally:
        connection.close()


def use_keys(instances, uses_per_s):
    """Lets the instances use their keys in turn, for ever. A refusal counts only if the pair stayed the same meanwhile."""
    while instances and uses_per_s:
        for instance in instances:
            started = time.monotonic()
            with instance.lock:
                pair = instance.pair
            if pair:
                try:
                    status, code = list_bucket(instance.s3_url, instance.bucket, instance.region, pair)
                except OSError:
                    status, code = 0, "unreachable"  # the test's AWS is being restarted: says nothing of the key
                with instance.lock:
                    instance.counts["uses"] += 1
                    if status == 200:
                        instance.accepted = True
                    elif status in (400, 401, 403) and instance.accepted and instance.pair == pair:
                        instance.counts["outages"] += 1
                        instance.outage_notes.append(f"{time.time():.3f} {pair[0]}: {status} {code}")
            time.sleep(max(0.0, 1 / uses_per_s - (time.monotonic() - started)))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "Synergist"
    instances, disable_nagle_algorithm = {}, True

    def do_GET(self):
        self.serve()

    do_POST = do_PUT = do_GET

    def serve(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else b""
        path, _, query = self.path.partition("?")
        if path.startswith("/_admin/"):
            status, answer = self.admin(path[len("/_admin/"):], body)
            return self.reply(status, "application/json", json.dumps(answer).encode())
        parts = path.strip("/").split("/")
        instance = self.instances.get(parts[0])
        if instance is None or len(parts) != 3 or parts[1].lower() != "jsonapi" or not parts[2].lower().endswith(".json"):
            return self.reply(404, "text/html", b"<html><body>Not found</body></html>")
        try:
            self.reply(*self.call(instance, parts[2][:-5].lower(), query, body))
        except Closed:
            self.close_connection = True
            self.connection.close()

    def call(self, instance, area, query, body):
        slow = instance.faults.get("slow_s")
        if slow:
            time.sleep(slow)
        with instance.lock:
            if instance.fault("unavailable"):
                return 503, "text/html", b"<html><body>Service unavailable</body></html>"
            if SECRET_FIELD in query.lower():
                instance.counts["secret_in_url"] += 1
            try:
                parameters = wire.parse_parameters(query, self.headers.get("Content-Type"), body)
                return wire.encode_success(instance.call(area, parameters, self.command == "GET"), instance.dialect)
            except wire.ApiError as error:
                return wire.encode_error(error, instance.dialect)

    def admin(self, path, body):
        what, _, licence = path.partition("/")
        if what == "ready":
            return 200, {"ready": True}
        if what == "books":
            return 200, {name: instance.books() for name, instance in self.instances.items()}
        if what == "secrets":
            found = {f"{name}/{key}": secret for name, instance in self.instances.items()
                     for key, secret in instance.kept_secrets.items()}
            return 200, {**found, **{f"{name}/password": instance.password for name, instance in self.instances.items()}}
        instance = self.instances.get(licence)
        if instance is None or what not in ("fault", "paste"):
            return 404, {"error": f"no {path}"}
        given = json.loads(body)
        with instance.lock:
            if what == "paste":
                instance.store(given["key_id"], given["secret"], "pasted")
            elif set(given) - set(FAULTS):
                return 400, {"error": "unknown fault", "faults": FAULTS}
            else:
                instance.faults.update(given)
        return 200, {"ok": True}

    def reply(self, status, content_type, body):
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code="-", size="-"):
        self.log_message("%s %s %s", self.command, self.path.partition("?")[0], code)  # never the query: it may hold a login


class Listener(ThreadingHTTPServer):
    daemon_threads, request_queue_size = True, 512


def main():
    with open(sys.argv[1]) as file:
        config = json.load(file)
    instances = {name: Instance(name, settings, config["s3_url"]) for name, settings in config["licences"].items()}
    Handler.instances = instances
    listener = Listener(("127.0.0.1", config["port"]), Handler)
    if config["tls"]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*config["tls"])
        listener.socket = context.wrap_socket(listener.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=use_keys, args=(list(instances.values()), config["uses_per_s"]), daemon=True).start()
    listener.serve_forever()


if __name__ == "__main__":
    main()
