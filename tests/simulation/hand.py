"""The hand that injects faults: at their times, or right after a POST."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from random import Random
from typing import Any

from tests.simulation.api import Post, Weather
from tests.simulation.book import Book
from tests.simulation.cluster import Cluster
from tests.simulation.host import Host
from tests.simulation.scenario import SLOTS, Fault, Scenario
from tests.simulation.scheduler import Scheduler

BETWEEN_RESTARTS = 2.0
"""Seconds from one worker to the next in a rolling restart."""


class Hand:
    """`injected`: what it has done, by kind; `at_work`: its tasks."""

    def __init__(
        self,
        scenario: Scenario,
        loop: Scheduler,
        random: Random,
        hosts: Mapping[str, Host],
        cluster: Cluster,
        weather: Weather,
        book: Book,
    ) -> None:
        self.injected: Counter[str] = Counter()
        self.at_work: list[asyncio.Task[None]] = []
        self._scenario = scenario
        self._loop = loop
        self._random = random
        self._hosts = hosts
        self._cluster = cluster
        self._weather = weather
        self._book = book
        self._actions: Mapping[str, Callable[[Fault, Host], Coroutine[Any, Any, None]]] = {
            "kill": self._kill,
            "freeze": self._freeze,
            "stop": self._stop,
            "expel": self._expel,
            "expel and pass on": self._expel_and_pass_on,
            "rebalance": self._rebalance,
            "join": self._join,
            "leave": self._leave,
            "rolling restart": self._rolling_restart,
            "all down": self._all_down,
            "clock step": self._clock_step,
            "broker outage": self._broker_outage,
            "API outage": self._api_outage,
            "429 storm": self._storm,
        }

    async def work(self) -> None:
        """Inject what the scenario says, at its times."""
        for fault in self._scenario.faults:
            await asyncio.sleep(max(0.0, fault.at - self._loop.time()))
            self.injected[fault.kind] += 1
            self._begin(self._do(fault, str(fault)))

    def posted(self, post: Post) -> None:
        """A POST starts; perhaps something happens to its process soon."""
        fault = self._scenario.after_posts.get(post.number)
        if fault and self._loop.time() < self._scenario.lasts:
            self.injected[f"{fault.kind}, after a POST"] += 1
            self._begin(self._soon(replace(fault, slot=post.process.name[0])))

    def rest(self) -> None:
        """No more faults: what is frozen wakes by itself, what is down comes back, all else is well."""
        self._book.trace.add("fault", "no more faults from now on")
        self._weather.calm()
        self._cluster.calm()
        for host in self._hosts.values():
            host.spare()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        self.at_work.append(self._loop.create_task(work, context=self._loop.world.context.copy()))

    async def _soon(self, fault: Fault) -> None:
        await asyncio.sleep(fault.at)
        await self._do(fault, f"{fault}, after its POST")

    async def _do(self, fault: Fault, told: str) -> None:
        self._book.trace.add("fault", told)
        await self._actions[fault.kind](fault, self._hosts.get(fault.slot) or self._hosts[SLOTS[0]])

    # ---- one process

    async def _kill(self, fault: Fault, host: Host) -> None:
        host.kill(restart=fault.seconds)

    async def _freeze(self, fault: Fault, host: Host) -> None:
        host.freeze(fault.seconds)

    async def _stop(self, fault: Fault, host: Host) -> None:
        host.stop(restart=fault.seconds)

    async def _clock_step(self, fault: Fault, host: Host) -> None:
        host.clock_step += fault.number

    # ---- the group

    async def _expel(self, fault: Fault, host: Host) -> None:
        await host.expel()

    async def _expel_and_pass_on(self, fault: Fault, host: Host) -> None:
        """Somebody who may have taken its partitions over has to stop soon afterwards."""
        await host.expel()
        await asyncio.sleep(fault.seconds)
        self._random.choice([other for other in self._hosts.values() if other is not host]).stop(restart=5.0)

    async def _rebalance(self, fault: Fault, host: Host) -> None:
        await self._cluster.rebalance()

    async def _join(self, fault: Fault, host: Host) -> None:
        self._hosts[SLOTS[-1]].wanted = True

    async def _leave(self, fault: Fault, host: Host) -> None:
        """A machine goes for good, unless it is the last one."""
        if sum(other.wanted for other in self._hosts.values()) > 1:
            host.wanted = False
            host.stop(restart=0.0)

    async def _rolling_restart(self, fault: Fault, host: Host) -> None:
        for each in self._hosts.values():
            if each.wanted:
                each.stop(restart=0.5)
                await asyncio.sleep(BETWEEN_RESTARTS)

    async def _all_down(self, fault: Fault, host: Host) -> None:
        for each in self._hosts.values():
            if fault.number:
                each.stop(restart=fault.seconds)
            else:
                each.kill(restart=fault.seconds)

    # ---- broker and API

    async def _broker_outage(self, fault: Fault, host: Host) -> None:
        self._book.disturbed(fault.seconds)
        for each in self._hosts.values():
            each.unplug(fault.seconds)

    async def _api_outage(self, fault: Fault, host: Host) -> None:
        self._book.disturbed(fault.seconds)
        self._weather.outage_until = self._loop.time() + fault.seconds

    async def _storm(self, fault: Fault, host: Host) -> None:
        self._book.disturbed(fault.seconds)
        self._weather.storm_until = self._loop.time() + fault.seconds
