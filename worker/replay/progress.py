"""A plan's progress as this process knows it, held against what is committed whenever the client connects anew."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from worker.core.replay_codec import encode
from worker.core.replay_plan import Plan
from worker.errors import CommitError, CommitFenced, CommitUnknown, MetadataTooLarge, StartError
from worker.model import Message, Position, TopicPartition
from worker.replay.ports import OpenProduction, Plans


class Progress:
    """Production under one plan over these dead-letter topics. `is_new`: nothing may be committed under its id yet."""

    def __init__(
        self, plans: Plans, open_production: OpenProduction, plan_id: str, topics: Collection[str], *, is_new: bool
    ) -> None:
        self._plans = plans
        self._id = plan_id
        self._topics = topics
        self._believed: Mapping[TopicPartition, Position] | None = {} if is_new else None
        self._production = open_production(plan_id, self._check)

    def connect(self) -> None:
        """From here on no other process goes on with the plan. Raises StartError."""
        try:
            self._production.connect()
        except CommitFenced as problem:
            raise StartError(f"{problem}: go on with it by --resume {self._id}, unless that process does") from None
        except CommitError as problem:
            raise StartError(
                f"{problem}: check the brokers, and the user's WRITE on transactional ids and READ on groups that begin with "
                "WORKER_KAFKA__GROUP_ID"
            ) from None

    def believe(self, plan: Plan) -> None:
        """The plan as it was read after `connect`."""
        self._believed = positions_of(plan)

    def note_down(self, plan: Plan) -> None:
        """Write the whole plan, without any letter. Raises StartError."""
        positions = positions_of(plan)
        try:
            self._production.commit((), positions)
        except MetadataTooLarge as problem:
            raise StartError(f"the brokers do not take the plan: {problem}, or select with fewer --offset") from None
        except CommitUnknown as problem:
            raise StartError(
                f"it is not known whether plan {plan.id} was written down ({problem}): try replay --resume {plan.id}, "
                "and plan anew where there is no such plan"
            ) from None
        except CommitError as problem:
            raise StartError(f"the plan was not written down ({problem}): try again") from None
        self._believed = positions

    def commit(self, messages: Sequence[Message], positions: Mapping[TopicPartition, Position]) -> None:
        """Letters, and how far the plan is with them. Raises CommitError and StartError."""
        self._production.commit(messages, positions)
        self._believed = {**(self._believed or {}), **positions}

    def close(self) -> None:
        """Abandon what is under way."""
        self._production.close()

    def _check(self) -> None:
        if self._believed is not None and dict(self._plans.read(self._id, self._topics)) != self._believed:
            raise CommitFenced(f"plan {self._id} was moved on by another process")


def positions_of(plan: Plan) -> dict[TopicPartition, Position]:
    """What is committed under a plan."""
    return {source: Position(share.position, encode(plan, source)) for source, share in plan.shares.items()}


def abandoned(plan: Plan) -> Plan:
    """The plan, given up where it stands."""
    return replace(plan, abandoned=True)
