"""The books after a run: what AWS, the instances, Redis and Kafka hold, against what the design promises.

A Licence is one row of the books, filled from moto and the Python instances (books_of_moto) or from the sandbox's own
books (books_of_sandbox). The checks return complaints, so that a test reports everything that is wrong at once.
"""
from dataclasses import dataclass, field

from .processes import wait_for

OPEN_PATTERNS = ("kr:{*}:journal", "kr:{*}:lease")


@dataclass
class Licence:
    name: str
    first_key: str                                 # the id it held when the run began
    keys: dict = field(default_factory=dict)       # AWS: key id -> Active or Inactive
    history: list = field(default_factory=list)    # the instance: each id it was given, in order, the first key first
    outages: int = 0                               # refusals after it had first held an accepted key
    created: int = 0                               # keys that AWS made for it during the run

    def distinct(self):
        """The ids of the history without immediate repeats: writing the same pair again is allowed."""
        return [key for index, key in enumerate(self.history) if index == 0 or self.history[index - 1] != key]


def check_licence(licence, stage):
    """Complaints about one licence at stage "overlap" (old key Active), "quarantine" (old Inactive), "current" (old gone)."""
    ids = licence.distinct()
    if licence.outages:
        yield f"{licence.outages} outages"
    if len(ids) != 2 or ids[0] != licence.first_key:
        yield f"rotated {len(ids) - 1} times: {ids}"
        return
    old, new = ids
    expected = {new: "Active"}
    if stage != "current":
        expected[old] = "Active" if stage == "overlap" else "Inactive"
    if licence.keys != expected:
        orphans = sorted(set(licence.keys) - set(ids))
        yield f"AWS holds {licence.keys}, expected {expected}" + (f"; orphan keys {orphans}" if orphans else "")


def first_complaint(licences, stage):
    """Returns one complaint or None; looks no further than the first, so that asking often costs little."""
    return next((f"{licence.name}: {complaint}" for licence in licences for complaint in check_licence(licence, stage)), None)


def check_fleet(licences, stage="current"):
    return [f"{licence.name}: {complaint}" for licence in licences for complaint in check_licence(licence, stage)]


def open_keys(client):
    """Returns the journals and leases that stand in Redis."""
    return sorted(key for pattern in OPEN_PATTERNS for key in client.scan_iter(match=pattern, count=1000))


def check_redis(client, timeout_s=20):
    """Waits for the last leases to be given back; complains about what stays."""
    try:
        wait_for("journals empty and leases gone", lambda: not open_keys(client), timeout_s)
    except TimeoutError:
        return [f"left in Redis: {key}" for key in open_keys(client)[:20]]
    return []


def check_lag(kafka, group, timeout_s=20, made_anew=False):
    """Waits for the group to have committed everything; complains about what is left.

    made_anew: topics were deleted and made again. A commit names no topic id, so one that was under way may count for the new
    topic, and lie behind its end until the partition gets its next message.
    """
    def total():
        lag = kafka.lag(group)
        return bool(lag) and all(count == 0 or (made_anew and count < 0) for count in lag.values())
    try:
        wait_for(f"consumer lag 0 of {group}", total, timeout_s, poll_s=0.3)
    except TimeoutError:
        left = {f"{topic}/{partition}": count for (topic, partition), count in kafka.lag(group).items() if count}
        return [f"consumer lag of {group}: {left or 'nothing was ever committed'}"]
    return []


def check_run(licences, stage, redis_client, kafka, group):
    """All of the above. Returns the complaints."""
    return check_fleet(licences, stage) + check_redis(redis_client) + check_lag(kafka, group)


def books_of_moto(iam, instances, first_keys):
    """Yields the rows from moto (boto3's IAM client of a caller that may list) and the Python instances' books.

    first_keys: {licence: (user, first key id)}. instances: support.synergist.Instances.
    """
    books = instances.books()
    for licence, (user, first_key) in first_keys.items():
        listed = iam.list_access_keys(UserName=user)["AccessKeyMetadata"]
        book = books[licence]
        yield Licence(licence, first_key, {key["AccessKeyId"]: key["Status"] for key in listed},
                      [entry["key_id"] for entry in book["history"]], book["outages"])
