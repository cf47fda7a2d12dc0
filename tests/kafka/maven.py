"""Apache Kafka's jars from Maven, downloaded once into a cache outside the repository."""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

from tests.kafka.backend import BackendUnavailable

POM: Final = Path(__file__).with_name("pom.xml")

_OLDEST_JAVA: Final = 17  # what Kafka 4 brokers need
_DOWNLOAD_SECONDS: Final = 300
_JAVA_SECONDS: Final = 20
_POM_NAMESPACE: Final = {"m": "http://maven.apache.org/POM/4.0.0"}


@dataclass(frozen=True, slots=True)
class Java:
    """A Java runtime: its command and a short mark of its exact build."""

    command: str
    build: str


@dataclass(frozen=True, slots=True)
class Installation:
    """Kafka's jars on disk and the Java to run them. `class_archive` speeds the start up; it may not exist yet."""

    java: Java
    jars: tuple[Path, ...]
    class_archive: Path


def install(environment: Mapping[str, str]) -> Installation:
    """Finds Java and Kafka's jars, downloading the jars if this is the first run.

    Raises BackendUnavailable without Java 17, and if the jars are not cached and Maven is missing or fails.
    """
    java = find_java(environment)
    directory = cache_directory(environment)
    if not directory.is_dir():
        maven = shutil.which("mvn", path=environment.get("PATH"))
        if maven is None:
            raise BackendUnavailable("no Maven: install it, so that mvn is on the PATH")
        directory.parent.mkdir(parents=True, exist_ok=True)
        with _locked(directory.with_name(f"{directory.name}.lock")):
            if not directory.is_dir():  # another run may have finished it meanwhile
                _download(maven, directory)
    # in a fixed order, because Java's class archive is tied to the exact class path
    jars = tuple(sorted(directory.glob("*.jar")))
    return Installation(java, jars, directory / f"classes-{java.build}.jsa")


def cache_directory(environment: Mapping[str, str]) -> Path:
    """Where the jars of exactly this pom.xml belong; the digest changes with any version in it."""
    if root := environment.get("EMBEDDING_WORKER_CACHE"):
        base = Path(root)
    elif root := environment.get("XDG_CACHE_HOME"):
        base = Path(root, "embedding-worker")
    else:
        base = Path.home() / ".cache" / "embedding-worker"
    digest = hashlib.sha256(POM.read_bytes()).hexdigest()[:8]
    return base.absolute() / f"kafka-{kafka_version()}-{digest}"


def kafka_version() -> str:
    """The broker's version, as pom.xml has it."""
    version = ET.parse(POM).findtext("m:properties/m:kafka.version", namespaces=_POM_NAMESPACE)
    if version is None:
        raise ValueError(f"{POM.name} has no property kafka.version")
    return version


def find_java(environment: Mapping[str, str]) -> Java:
    """Java of JAVA_HOME, else of the PATH. Raises BackendUnavailable if there is none or it is too old."""
    home = environment.get("JAVA_HOME")
    command = shutil.which("java", path=str(Path(home, "bin")) if home else environment.get("PATH"))
    if command is None:
        raise BackendUnavailable(f"no Java in {'JAVA_HOME' if home else 'the PATH'}: install Java {_OLDEST_JAVA}")
    answer = subprocess.run([command, "-version"], capture_output=True, text=True, timeout=_JAVA_SECONDS, check=False)
    found = re.search(r'version "(\d+)', answer.stderr)
    if found is None or int(found[1]) < _OLDEST_JAVA:
        version = found[1] if found else "of unknown version"
        raise BackendUnavailable(f"Java {version} does not run Kafka: install Java {_OLDEST_JAVA}")
    return Java(command, hashlib.sha256(answer.stderr.encode()).hexdigest()[:8])


def _download(maven: str, directory: Path) -> None:
    _say(f"downloading Apache Kafka {kafka_version()} by Maven, once, to {directory}")
    started = time.monotonic()
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".download-") as temporary:
        jars = Path(temporary, "jars")
        command = [maven, "-B", "-q", "-f", str(POM), "dependency:copy-dependencies"]
        options = ["-DincludeScope=runtime", f"-DoutputDirectory={jars}"]
        try:
            done = subprocess.run(
                command + options,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_DOWNLOAD_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise BackendUnavailable(f"Maven took more than {_DOWNLOAD_SECONDS} s to download Kafka") from error
        if done.returncode:
            reason = next((line for line in done.stdout.splitlines() if "ERROR" in line), f"exit {done.returncode}")
            raise BackendUnavailable(f"Maven could not download Kafka: {reason}")
        jars.rename(directory)  # whole or not at all: a directory of this name is complete
    _say(f"downloaded in {time.monotonic() - started:.1f} s")


def _say(text: str) -> None:
    print(f"kafka: {text}", file=sys.stderr, flush=True)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Holds an exclusive lock among processes; the kernel releases it if this one dies."""
    handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
