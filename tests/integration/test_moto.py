"""The whole life of 200 keys against moto, an AWS that is not ours, with authorisation on, and Python instances."""
import pytest

from support import deployment, fleet

SLOW_AWS = {"lease_ttl": "10s", "lease_renew": "2s", "mutate_timeout": "7s", "max_in_flight": 40}  # moto does one call at a time


@pytest.fixture(scope="module")
def licences(full):
    return 1000 if full else 200


def test_whole_life(tmp_path, kafka, redis_server, moto, licences):
    with fleet.MotoFleet(tmp_path, moto, licences) as made, \
            deployment.Deployment(tmp_path, kafka, redis_server, made, **SLOW_AWS) as installed:
        installed.topics_apply()
        installed.worker()
        installed.worker()
        installed.scheduler()
        installed.wait_stage("current", 240)
        assert installed.finish("current") == []
        books = made.instances.books()
        assert {name: book["secret_in_url"] for name, book in books.items() if book["secret_in_url"]} == {}


def test_rotate_command_waits_for_the_overlap(tmp_path, kafka, redis_server, moto):
    with fleet.MotoFleet(tmp_path, moto, 3, key_age_days=1) as made, \
            deployment.Deployment(tmp_path, kafka, redis_server, made, **SLOW_AWS) as installed:
        installed.topics_apply()
        installed.worker()
        installed.scheduler()
        one = made.names[0]
        installed.keyroll.run("rotate", one, "--wait", timeout_s=90)
        books = list(made.books())
        untouched = [row for row in books if row.name != one]
        assert [(row.distinct(), row.keys) for row in untouched] == [([row.first_key], {row.first_key: "Active"}) for row in untouched]
        rotated = next(row for row in books if row.name == one)
        assert len(rotated.distinct()) == 2 and set(rotated.keys) >= {rotated.distinct()[1]}
