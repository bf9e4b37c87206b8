"""The Python instances themselves: envelopes, forms, errors, presigned URLs and books, against moto."""
import json

import pytest
import requests

from support import fleet
from support.synergist import wire


@pytest.fixture
def small(tmp_path, moto):
    with fleet.MotoFleet(tmp_path, moto, 5, uses_per_s=0) as made:
        yield made


def post(fleet_, licence, area="system", how="multipart", login=True, **parameters):
    row = fleet_.rows[licence]
    form = {"version": "4", **({"user": row.login, "password": row.password} if login else {}), **parameters}
    body = {"files": {name: (None, value) for name, value in form.items()}} if how == "multipart" else {"data": form}
    return requests.post(f"{fleet_.instances.instance_url(licence)}/jsonapi/{area}.json", timeout=10, **body)


@pytest.mark.parametrize("how", ["multipart", "urlencoded"])
def test_write_is_not_echoed_and_is_read_back(small, how):
    licence = small.names[0]
    pair = {"systemparameters_iamaccesskey": "AKIANEW", "systemparameters_iamsecretkey": "a/b+c=d&é"}
    lower = {name.lower(): value for name, value in
             post(small, licence, how=how, action="update", input=json.dumps({"data": [pair]})).json().items()}
    assert lower["success"] is True and "AKIANEW" not in json.dumps(lower)
    row = post(small, licence, how=how, style="modeldata", modelstructure="systemdetails").json()
    row = {name.lower(): value for name, value in row.items()}["data"][0]
    assert row["systemparameters_iamaccesskey"] == "AKIANEW" and row["systemparameters_iamsecretkey"] == "********"
    assert small.instances.secrets()[f"{licence}/AKIANEW"] == "a/b+c=d&é"
    assert [entry["key_id"] for entry in small.instances.books()[licence]["history"]] == [small.rows[licence].first_key, "AKIANEW"]


def test_half_a_pair_and_an_identifier_alone_change_nothing(small):
    licence = small.names[0]
    for record in ({"uuid": "X"}, {"systemparameters_iamaccesskey": "AKIANEW"}, {}):
        post(small, licence, action="update", input=json.dumps({"data": [record]}))
    assert small.instances.books()[licence]["key_id"] == small.rows[licence].first_key


def test_presigned_url_and_test_call_use_the_stored_key(small):
    licence = small.names[0]
    data = {name.lower(): value for name, value in post(small, licence, area="attachments").json().items()}["data"]
    url = data[0]["attachmentS3UrlGet"]
    assert f"X-Amz-Credential={small.rows[licence].first_key}%2F" in url
    assert requests.get(url, timeout=10).status_code == 200
    assert requests.get(url[:-8] + "00000000", timeout=10).status_code == 403
    assert post(small, licence, action="testaws").status_code == 200
    small.instances.paste(licence, "AKIAUNKNOWN", "wrong")
    assert "OK" not in post(small, licence, action="testaws").text
    assert small.instances.books()[licence]["tests"] == 2


@pytest.mark.parametrize("dialect", wire.DIALECTS)
def test_every_dialect_tells_the_number(dialect):
    status, _, body = wire.encode_error(wire.ApiError(404002), dialect)
    assert b"404002" in body and status == (200 if dialect == "json" else 404)


def test_login_is_checked(small):
    licence = small.names[0]
    assert b"404001" in post(small, licence, login=False, action="version").content
    assert b"404002" in post(small, licence, action="version", password="wrong").content
    small.instances.fault(licence, disabled=True)
    assert b"404003" in post(small, licence, action="version").content
