"""How fast a simulated fleet is worked on, from moment to moment: what an upgrade may slow down, and by how much, is told in its terms."""
import threading
import time

WINDOW_S = 10


class Pace:
    """Counts the jobs that reached their effect (a pair written, a key made Inactive, a key deleted), five times a second."""

    def __init__(self, fleet):
        self.fleet, self.seen, self.end = fleet, [], threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)

    def effects(self):
        totals = self.fleet.summary()
        return totals["writes"] + totals["updates"] + totals["deletes"]

    def watch(self):
        while not self.end.wait(0.2):
            self.seen.append((time.monotonic(), self.effects()))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.end.set()
        self.thread.join()

    def rate(self, begin, end):
        """Jobs per second between two moments."""
        inside = [(at, count) for at, count in self.seen if begin <= at <= end]
        return (inside[-1][1] - inside[0][1]) / (inside[-1][0] - inside[0][0])

    def by_second(self, begin, end):
        """Jobs in each whole second between two moments, to see where it stood still."""
        marks, at = [], begin
        while at <= end:
            before = [count for moment, count in self.seen if moment <= at]
            marks.append(before[-1] if before else self.seen[0][1])
            at += 1
        return [later - earlier for earlier, later in zip(marks, marks[1:])]

    def slowest(self, begin, end):
        """The smallest rate over WINDOW_S, of all windows that begin and end in between."""
        starts = [at for at, _ in self.seen if begin <= at <= end - WINDOW_S]
        return min(self.rate(at, at + WINDOW_S) for at in starts)
