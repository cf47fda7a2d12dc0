"""The ways of doing the work, as commands for `python`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from tests.bench.workload import Workload

API_KEY: Final = "SG_0123456789abcdef"
WORKER: Final = "worker"
"""As it is shipped: exactly once, where the broker has transactions."""
AT_LEAST_ONCE: Final = "at_least_once"
"""The same worker without transactions."""
SDK: Final = "sdk"


@dataclass(frozen=True, slots=True)
class Places:
    """Where one run reads, writes and asks. The names are its own: no run sees what another one did."""

    bootstrap_servers: str
    url: str
    group: str
    input: str
    output: str
    dead_letter: str


@dataclass(frozen=True, slots=True)
class Command:
    """Arguments of `python`, and variables added to its environment."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str]


def worker(places: Places, workload: Workload) -> Command:
    """The worker as it is shipped, with a pace that does not limit it; everything else is the default."""
    environment = {
        "WORKER_KAFKA__BOOTSTRAP_SERVERS": places.bootstrap_servers,
        "WORKER_KAFKA__GROUP_ID": places.group,
        "WORKER_TOPICS__INPUT": places.input,
        "WORKER_TOPICS__OUTPUT": places.output,
        "WORKER_TOPICS__DEAD_LETTER": places.dead_letter,
        "WORKER_API__BASE_URL": places.url,
        "WORKER_API__OUTPUT_DIMENSIONALITY": str(workload.dimension),
        "WORKER_PACE__REQUESTS_PER_MINUTE": "1000000",
        "WORKER_LIMITS__IN_FLIGHT": "256",
        "WORKER_STATUS__HOST": "127.0.0.1",
        "WORKER_STATUS__PORT": "0",
        "SEGMIND_API_KEY": API_KEY,
    }
    return Command(("-m", "worker", "run", "--until-end"), environment)


def at_least_once(places: Places, workload: Workload) -> Command:
    """The worker with outcomes and offsets one after the other, in no transaction."""
    command = worker(places, workload)
    delivery = {"WORKER_GUARANTEES__DELIVERY": "at_least_once"}
    return Command(command.arguments, {**command.environment, **delivery})


def sdk(places: Places, workload: Workload) -> Command:
    """The vendor's SDK in a thread pool."""
    options = {
        "bootstrap-servers": places.bootstrap_servers,
        "group": places.group,
        "input": places.input,
        "output": places.output,
        "url": places.url,
        "key": API_KEY,
        "dimension": str(workload.dimension),
    }
    return Command(("-m", "tests.bench.sdk_worker", *(f"--{name}={value}" for name, value in options.items())), {})


Contenders = Mapping[str, Callable[[Places, Workload], Command]]


def contenders(*, transactions: bool) -> Contenders:
    """Who is measured. A broker without `transactions`, such as the embedded one, can only be worked at least once."""
    if not transactions:
        return {WORKER: at_least_once, SDK: sdk}
    return {WORKER: worker, AT_LEAST_ONCE: at_least_once, SDK: sdk}
