"""An HTTP proxy in front of an AWS endpoint that counts calls and loses replies after their effect."""
import http.client
import threading
import urllib.parse
from collections import Counter, defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class LossyProxy:
    """Forwards to `upstream` (http://HOST:PORT) byte for byte; use as a context.

    lose(action, count): the next `count` calls of that IAM or STS action reach upstream and take effect, but the
    connection closes without a byte of reply. arrived: Counter of actions that reached upstream. traces: for each action the
    traceparent headers that came with it, None where there was none.
    """

    def __init__(self, upstream):
        proxy = self
        self.upstream = urllib.parse.urlsplit(upstream)
        self.arrived, self._lose, self._lock = Counter(), Counter(), threading.Lock()
        self.traces = defaultdict(set)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self):
                proxy._forward(self)

            do_POST = do_PUT = do_HEAD = do_DELETE = do_GET

            def log_message(self, *arguments):
                pass

        self._listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._listener.daemon_threads = True
        self.port = self._listener.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def lose(self, action, count=1):
        with self._lock:
            self._lose[action] += count

    def _forward(self, handler):
        length = int(handler.headers.get("Content-Length") or 0)
        body = handler.rfile.read(length) if length else None
        form = urllib.parse.parse_qs((body or b"").decode("latin-1"))
        action = form.get("Action", [handler.command])[0]
        connection = http.client.HTTPConnection(self.upstream.hostname, self.upstream.port, timeout=60)
        try:
            connection.putrequest(handler.command, handler.path, skip_host=True, skip_accept_encoding=True)
            for name, value in handler.headers.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        with self._lock:
            self.arrived[action] += 1
            self.traces[action if "Action" in form else handler.path.partition("?")[0]].add(handler.headers.get("traceparent"))
            lost = self._lose[action] > 0
            if lost:
                self._lose[action] -= 1
        if lost:
            handler.close_connection = True
            handler.connection.close()
            return
        handler.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "content-length", "keep-alive"):
                handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(data)

    def __enter__(self):
        threading.Thread(target=self._listener.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exc):
        self._listener.shutdown()
        self._listener.server_close()
