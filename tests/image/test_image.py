"""The image: how it is built, what is in it, and that its programs do their work in it, confined."""
import json
import os
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest

from support import image, programs as found, provision
from support.oci import Container

MAX_BYTES = 35 << 20


# ---- how it is built -----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("builds", "integration")  # the long ones begin
def test_labels_and_user(built):
    config = built.inspect()["OCIv1"]["config"]
    labels = config["Labels"]
    name = "org.opencontainers.image."
    assert labels[name + "title"] == "keyroll"
    assert labels[name + "revision"] == built.revision
    shown = subprocess.run([found.binary("keyroll"), "--version"], text=True, capture_output=True, check=True).stdout
    assert labels[name + "version"] == shown.split()[1], "the label follows the program's version"
    assert config["User"] == "65532:65532"
    assert config["Entrypoint"] == ["/usr/bin/keyroll"]


def test_software_bill_of_materials(built, tmp_path):
    """CycloneDX, beside the image: every library that the programs load is there with a version."""
    target = Path(os.environ.get("KEYROLL_RESULTS", tmp_path))
    archive = built.archive(tmp_path / "keyroll.tar")
    bill = target / "keyroll.cdx.json"
    version = built.inspect()["OCIv1"]["config"]["Labels"]["org.opencontainers.image.version"]
    image.run([provision.syft(), "scan", f"oci-archive:{archive}", "--source-name", "keyroll", "--source-version", version,
               "-q", "-o", f"cyclonedx-json={bill}"], env={**os.environ, "SYFT_CHECK_FOR_APP_UPDATE": "false"})
    made = json.loads(bill.read_text())
    assert made["bomFormat"] == "CycloneDX"
    assert made["metadata"]["component"]["name"] == "keyroll"
    versions = {part["name"]: part.get("version") for part in made["components"]}
    for package in ("libc6", "libssl3t64", "librdkafka1", "libcurl4t64", "libhiredis1.1.0", "libuv1t64", "libjansson4",
                    "libmicrohttpd12t64", "libexpat1", "ca-certificates", "tzdata"):
        assert versions.get(package), f"{package} is not in the bill: {sorted(versions)}"


# ---- what is in it -------------------------------------------------------------------------------------------------


def files(root):
    for folder, _, names in os.walk(root):
        for name in names:
            yield Path(folder, name)


def test_size(root, built, tmp_path):
    bytes_there = sum(path.lstat().st_size for path in files(root))
    with tarfile.open(built.archive(tmp_path / "keyroll.tar")) as tar:
        packed = sum(member.size for member in tar if member.name.startswith("blobs/"))
    print(f"image: {bytes_there / 1e6:.1f} MB uncompressed, {packed / 1e6:.1f} MB packed")
    assert bytes_there <= MAX_BYTES


def test_only_the_programs_can_be_run(root):
    """No shell, no package manager: nothing else is an executable, nothing is set-user-id."""
    loaders = {path.name for path in files(root) if path.name.startswith("ld-linux")}
    runnable = {str(path.relative_to(root)) for path in files(root)
                if not path.is_symlink() and path.stat().st_mode & 0o111 and ".so" not in path.name}
    assert runnable == {"usr/bin/keyroll", "usr/bin/keyroll-worker"}
    assert len(loaders) == 1
    odd = [path for path in files(root) if path.lstat().st_mode & (stat.S_ISUID | stat.S_ISGID)]
    assert odd == []


def test_what_belongs_to_it(root):
    assert (root / "etc/ssl/certs/ca-certificates.crt").read_text().count("BEGIN CERTIFICATE") > 50
    assert os.readlink(root / "usr/lib/ssl/cert.pem") == "/etc/ssl/certs/ca-certificates.crt"
    assert (root / "usr/share/zoneinfo/Europe/Vienna").read_bytes()[:4] == b"TZif"
    assert "keyroll:x:65532:65532:" in (root / "etc/passwd").read_text()
    for status in (root / "var/lib/dpkg/status.d").iterdir():
        assert (root / "usr/share/doc" / status.name / "copyright").stat().st_size > 0
    with (root / "usr/bin/keyroll").open("rb") as program:
        assert b".debug_info" not in program.read()


# ---- what it does --------------------------------------------------------------------------------------------------


def test_debian_13_libraries(programs):
    shown = json.loads(subprocess.run([programs / "keyroll", "version", "--json"], text=True, capture_output=True,
                                      check=True).stdout)["libraries"]
    print(shown)
    assert shown["librdkafka"].startswith("2.8.") and shown["OpenSSL"].startswith("3.5.")


def test_confined_as_an_orchestrator_does_it(root, tmp_path):
    """runc with an OCI configuration: the worker starts, serves, drains; the kernel says what it may do."""
    with Container(tmp_path, root, ["/usr/bin/keyroll-worker", "--config", "/etc/keyroll/keyroll.conf"]) as worker:
        status = worker.proc_status()
        assert status["Uid"].split() == ["65532"] * 4 and status["Gid"].split() == ["65532"] * 4
        assert status["NoNewPrivs"] == "1"
        for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(status[name], 16) == 0, f"{name} {status[name]}"
        assert worker.root_is_read_only()
        assert worker.get("/healthz") == 200
        assert worker.terminate() == 0, worker.output()


# ---- what went on meanwhile ----------------------------------------------------------------------------------------


def test_integration_suite_on_the_image(integration):
    status = integration.process.wait()
    print(integration.log.read_text()[-8000:])
    assert status == 0, integration.tail()


def test_unit_tests_pass_where_it_is_built(built, builds):
    """And leave no trace in it."""
    builds[image.TESTED].result()
    assert built.layers(image.TESTED) == built.layers()


def test_a_second_build_gives_the_same_layers(built, builds):
    """Compiled again, by nothing that was compiled before, and elsewhere: neither time nor place leaves a trace."""
    builds[image.AGAIN].result()
    assert built.layers(image.AGAIN) == built.layers()


def test_clang_has_no_warning(builds):
    builds[image.CLANG].result()
