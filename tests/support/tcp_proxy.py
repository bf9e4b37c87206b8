"""A TCP proxy that hurts what goes through it: latency, connections cut at random bytes, stalls, another server behind it."""
import contextlib
import random
import socket
import threading
import time

CHUNK = 65536


class TcpProxy:
    """Listens on a free port of 127.0.0.1 and forwards to target; use as a context. All settings may change at any time.

    target: port that new connections lead to. latency_s: each chunk is delivered so much later, in both directions, in order.
    cut_bytes: (least, most) or None: a connection made from now on dies after a random number of forwarded bytes, counted over
    both directions, in the middle of a chunk if need be. stalled: nothing is delivered any more, connections stay open.
    """

    def __init__(self, target, seed=1):
        self.target, self.latency_s, self.cut_bytes = target, 0, None
        self.cuts = 0
        self._dice, self._pairs, self._lock = random.Random(seed), set(), threading.Lock()
        self._flowing = threading.Event()
        self._flowing.set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._listener.getsockname()[1]

    @property
    def stalled(self):
        return not self._flowing.is_set()

    @stalled.setter
    def stalled(self, yes):
        (self._flowing.clear if yes else self._flowing.set)()

    def drop_all(self):
        """Closes every connection; new ones are still taken."""
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            pair.close()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.target), timeout=5)
            except OSError:
                client.close()
                continue
            with self._lock:
                left = self._dice.randint(*self.cut_bytes) if self.cut_bytes else None
                pair = _Pair(self, client, server, left)
                self._pairs.add(pair)
            pair.start()

    def _ended(self, pair):
        with self._lock:
            self._pairs.discard(pair)

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exc):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.stalled = False
        self.drop_all()


class _Pair:
    """One connection through the proxy: a reader and a writer thread for each direction."""

    def __init__(self, proxy, client, server, left):
        self.proxy, self.sockets, self.left, self.closed = proxy, (client, server), left, False
        self.lock = threading.Lock()
        for one in self.sockets:
            one.settimeout(None)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def start(self):
        for source, sink in (self.sockets, self.sockets[::-1]):
            queue, ready = [], threading.Condition()
            threading.Thread(target=self._read, args=(source, queue, ready), daemon=True).start()
            threading.Thread(target=self._write, args=(sink, queue, ready), daemon=True).start()

    def _read(self, source, queue, ready):
        data = b"more"
        while data:
            try:
                data = source.recv(CHUNK)
            except OSError:
                data = b""
            with ready:
                queue.append((time.monotonic() + self.proxy.latency_s, data))
                ready.notify()

    def _write(self, sink, queue, ready):
        while True:
            with ready:
                ready.wait_for(lambda: queue)
                due, data = queue.pop(0)
            time.sleep(max(0, due - time.monotonic()))
            self.proxy._flowing.wait()
            data, last = self._allowed(data)
            try:
                if data:
                    sink.sendall(data)
            except OSError:
                last = True
            if last or not data:
                self.close()
                return

    def _allowed(self, data):
        """Returns what of data may still pass, and whether the connection dies after it."""
        with self.lock:
            if self.left is None:
                return data, False
            if len(data) < self.left:
                self.left -= len(data)
                return data, False
            data, self.left = data[:self.left], 0
        with self.proxy._lock:
            self.proxy.cuts += 1
        return data, True

    def close(self):
        with self.lock:
            if self.closed:
                return
            self.closed = True
        for one in self.sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self.proxy._ended(self)
