"""The images of the cluster, as docker archives that containerd takes."""
import json
import os
import shutil
import subprocess
from pathlib import Path

from support import image, provision

SCRATCH_IMAGE = Path(__file__).resolve().parent / "box" / "scratch-image"
REPOSITORY = "localhost/keyroll"
KEDA_NAMES = {"keda": "keda", "keda-adapter": "keda-metrics-apiserver", "keda-admission-webhooks": "keda-admission-webhooks"}
TAGS = ("test", "next")  # the latter writes the next minor version of messages, records and journals (schema/minor.h)


def keyroll(scratch):
    """Builds deploy/image/Dockerfile twice, as the image suite does (which runs the unit tests in it, too). Returns the archives."""
    builder = image.Builder(provision.cache_folder() / "image", scratch)
    builder.base()
    archives = []
    for number, tag in enumerate(TAGS):
        builder.build(f"{REPOSITORY}:{tag}", "--build-arg", "UNIT_TESTS=off", "--build-arg", f"SCHEMA_MINOR_SHIFT={number}")
        archives.append(builder.docker_archive(Path(scratch) / f"keyroll-{tag}.tar", f"{REPOSITORY}:{tag}"))
    return archives


def keda(scratch):
    """Packs KEDA's programs, each alone in an image of the name and path that its manifests use. Returns the archives."""
    archives = []
    for program, name in KEDA_NAMES.items():
        layer = Path(scratch) / f"layer-{program}"
        layer.mkdir()
        shutil.copy(Path(os.environ["KEYROLL_KEDA"], program), layer / program)
        archive = Path(scratch) / f"{program}.tar"
        configuration = json.dumps({"User": "1000:1000", "Entrypoint": [f"/{program}"]})
        subprocess.run([SCRATCH_IMAGE, archive, f"localhost/{name}:test", configuration, layer], check=True)
        shutil.rmtree(layer)
        archives.append(archive)
    return archives
