"""Apache Kafka as a child process: one KRaft node, broker and controller in one JVM."""

import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.kafka import admin
from tests.kafka.maven import Installation
from tests.kafka.ports import free_port
from tests.kafka.properties import CLUSTER_ID, DATA_DIRECTORY_PROPERTY, broker_properties

_HOST: Final = "127.0.0.1"
_START_SECONDS: Final = 60.0
_FORMAT_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 20.0
_LOG_TAIL_LINES: Final = 40
# measured, to the first answered metadata request on 2 cores: plain 2.3 s, the first compiler tier alone 1.8 s, with a
# class archive as well 0.9 s
_JAVA_OPTIONS: Final = (
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "-Xms128m",
    "-Xmx512m",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
)
# waits until this process is gone, however it went: the pipe it reads then closes
_WATCHDOG: Final = 'read -r _; kill -KILL "$1"; rm -rf "$2"'


class KraftBroker:
    """A broker on fixed ports of 127.0.0.1 with its data in a temporary directory.

    It never outlives this process: a watchdog kills it when this process dies, by SIGKILL too. Neither is in the
    terminal's foreground group, so that Ctrl-C leaves the broker to the orderly teardown.
    """

    can_restart: Final = True

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._controller_port = free_port()
        self._directory = Path(tempfile.mkdtemp(prefix="embedding-worker-kafka-"))
        self._log = self._directory / "broker.log"
        self._port = free_port()
        self._jvm: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None
        self.configure({})
        self._format()

    @property
    def bootstrap_servers(self) -> str:
        return f"{_HOST}:{self._port}"

    def start(self) -> None:
        """Starts the JVM and waits until the broker answers. Raises RuntimeError with the end of its log."""
        if self._jvm is not None:
            return
        jvm = self._launch(*self._archive_options(), f"-Dkafka.logs.dir={self._directory}", main="kafka.Kafka")
        self._jvm = jvm
        self._watchdog = subprocess.Popen(
            ["/bin/sh", "-c", _WATCHDOG, "kafka-watchdog", str(jvm.pid), str(self._directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            ready = admin.wait_until_ready(self.bootstrap_servers, _START_SECONDS, lambda: jvm.poll() is None)
        except BaseException:
            self.stop(kill=True)
            raise
        if not ready:
            state = "did not answer" if jvm.poll() is None else f"ended with exit code {jvm.returncode}"
            self.stop(kill=True)
            raise RuntimeError(f"the Kafka broker {state}; the end of its log:\n{self._log_tail()}")

    def stop(self, *, kill: bool = False) -> None:
        """Ends the JVM by SIGTERM, or by SIGKILL; data and ports stay."""
        jvm, self._jvm = self._jvm, None
        if jvm is None:
            return
        # the watchdog goes first: it must not outlive the process whose number it holds
        self._end_watchdog()
        if kill:
            jvm.kill()
        else:
            jvm.terminate()
        try:
            jvm.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            jvm.kill()
            jvm.wait()
        self._keep_class_archive()

    def configure(self, overrides: Mapping[str, str]) -> None:
        """Set properties in place of those that every test broker has; they hold from the next start on."""
        properties = broker_properties(
            listen_host=_HOST,
            listen_port=self._port,
            advertised_host=_HOST,
            advertised_port=self._port,
            controller_port=self._controller_port,
        )
        properties[DATA_DIRECTORY_PROPERTY] = str(self._directory / "data")
        lines = [f"{name}={value}\n" for name, value in (properties | dict(overrides)).items()]
        self._properties_file.write_text("".join(lines), encoding="utf-8")

    def create_topic(self, name: str, partitions: int, config: Mapping[str, str]) -> None:
        admin.create_topic(self.bootstrap_servers, name, partitions, config)

    def close(self) -> None:
        """Stops the broker and deletes its data."""
        self.stop()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _format(self) -> None:
        tool = self._launch(main="kafka.tools.StorageTool", before=("format", "-t", CLUSTER_ID, "-c"))
        try:
            failed = tool.wait(_FORMAT_SECONDS) != 0
        except BaseException:
            tool.kill()
            tool.wait()
            self.close()
            raise
        if failed:
            tail = self._log_tail()
            self.close()
            raise RuntimeError(f"Kafka's storage could not be formatted:\n{tail}")

    @property
    def _properties_file(self) -> Path:
        return self._directory / "server.properties"

    def _launch(self, *options: str, main: str, before: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
        class_path = ":".join(str(jar) for jar in self._installation.jars)
        java = [self._installation.java.command, *_JAVA_OPTIONS, *options, "-cp", class_path, main]
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [*java, *before, str(self._properties_file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _archive_options(self) -> tuple[str, ...]:
        archive = self._installation.class_archive
        if archive.exists():
            return (f"-XX:SharedArchiveFile={archive}",)
        return (f"-XX:ArchiveClassesAtExit={self._new_archive}",)

    @property
    def _new_archive(self) -> Path:
        return self._directory / "classes.jsa"

    def _keep_class_archive(self) -> None:
        """Moves the archive that the first orderly stop wrote to the cache, whole or not at all."""
        if not self._new_archive.exists():
            return
        archive = self._installation.class_archive
        with tempfile.TemporaryDirectory(dir=archive.parent, prefix=".archive-") as temporary:
            # copied next to its place first: the temporary directory may be another file system
            Path(shutil.move(self._new_archive, temporary)).replace(archive)

    def _end_watchdog(self) -> None:
        watchdog, self._watchdog = self._watchdog, None
        if watchdog is not None:
            watchdog.kill()
            watchdog.communicate()

    def _log_tail(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-_LOG_TAIL_LINES:])
