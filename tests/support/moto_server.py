#!/usr/bin/env python3
"""moto_server.py PORT: moto as a server that also checks presigned URLs.

With its authorisation on, moto 5.2.5 answers 500 to a presigned URL: it looks for an Authorization header only. Presigned
stands in front: it checks the URL's own signature and age with botocore, and hands moto the same request with a header;
a URL that does not hold gets a header that does not hold, so that the refusal is moto's own.
"""
import datetime
import sys
import urllib.parse

import botocore.auth
import botocore.awsrequest
import botocore.credentials
from moto import settings
from moto.iam.models import iam_backends
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import run_simple

ACCOUNT = "123456789012"


def secret_of(key_id):
    for user in iam_backends[ACCOUNT]["aws"].list_users("/", None, None):
        for key in user.access_keys:
            if key.access_key_id == key_id:
                return key.secret_access_key
    return None


class Presigned:
    def __init__(self, application):
        self.application = application

    def __call__(self, environ, start_response):
        if environ["PATH_INFO"] == "/_backdate":
            return self.backdate(int(environ["QUERY_STRING"]), start_response)
        query = dict(urllib.parse.parse_qsl(environ["QUERY_STRING"], keep_blank_values=True))
        if "X-Amz-Signature" in query and settings.INITIAL_NO_AUTH_ACTION_COUNT == 0:
            self.use_header(environ, query)
        return self.application(environ, start_response)

    @staticmethod
    def backdate(days, start_response):
        """POST /_backdate?DAYS makes every key that exists older by so many days; AWS has no call for that."""
        for user in iam_backends[ACCOUNT]["aws"].list_users("/", None, None):
            for key in user.access_keys:
                key.create_date -= datetime.timedelta(days=days)
        start_response("204 No Content", [])
        return [b""]

    def use_header(self, environ, query):
        """Replaces the signature in the query by one in a header."""
        key_id, _, region = query["X-Amz-Credential"].split("/")[:3]
        keys = botocore.credentials.Credentials(key_id, secret_of(key_id) or "unknown")
        base = f"http://{environ['HTTP_HOST']}{urllib.parse.quote(environ['PATH_INFO'])}"
        good = self.holds(environ, query, keys, region, base)
        rest = urllib.parse.urlencode({name: value for name, value in query.items() if not name.startswith("X-Amz-")})
        request = botocore.awsrequest.AWSRequest(method=environ["REQUEST_METHOD"], url=base + ("?" + rest if rest else ""),
                                                 headers={"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"})
        botocore.auth.S3SigV4Auth(keys, "s3", region).add_auth(request)
        header = request.headers["Authorization"]
        environ["HTTP_AUTHORIZATION"] = header if good else header[:-8] + "00000000"
        environ["HTTP_X_AMZ_DATE"] = request.headers["X-Amz-Date"]
        environ["HTTP_X_AMZ_CONTENT_SHA256"] = request.headers["X-Amz-Content-SHA256"]
        environ["QUERY_STRING"] = rest
        for name in ("REQUEST_URI", "RAW_URI"):
            environ[name] = environ["PATH_INFO"] + ("?" + rest if rest else "")

    @staticmethod
    def holds(environ, query, keys, region, base):
        """Is the signature the one of this key, and the URL not too old?"""
        signed = [pair for pair in environ["QUERY_STRING"].split("&") if not pair.startswith("X-Amz-Signature=")]
        request = botocore.awsrequest.AWSRequest(method=environ["REQUEST_METHOD"], url=base + "?" + "&".join(signed))
        request.context["timestamp"] = query["X-Amz-Date"]
        auth = botocore.auth.S3SigV4QueryAuth(keys, "s3", region)
        auth_text = auth.string_to_sign(request, auth.canonical_request(request))
        made = datetime.datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc)
        age = datetime.datetime.now(datetime.timezone.utc) - made
        return auth.signature(auth_text, request) == query["X-Amz-Signature"] and age.total_seconds() < int(query["X-Amz-Expires"])


class Handler(MotoRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps connections open, as AWS does
    disable_nagle_algorithm = True

    def log_request(self, code="-", size="-"):
        self.log("info", "%s %s %s", self.command, self.path.partition("?")[0], code)


if __name__ == "__main__":
    run_simple("127.0.0.1", int(sys.argv[1]), Presigned(DomainDispatcherApplication(create_backend_app)), threaded=True,
               request_handler=Handler)
