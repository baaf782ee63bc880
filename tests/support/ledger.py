"""The ledger of a run under faults: what was sent, what became of it, and who heard it how often and in what order.

Pure bookkeeping: clients write into it (see peers.py), tests ask it. A message ends in one of two ways: everyone who
was there hears it once, or its sender is told that it was not sent.
"""

import dataclasses
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Self


@dataclass(frozen=True, slots=True)
class Sent:
    """A message, the `number`-th of its sender and the `place`-th of all."""

    sender: str
    number: int
    type: str
    place: int


@dataclass(slots=True)
class Heard:
    """What one receiver heard: ids in the order of their first coming."""

    order: list[str] = field(default_factory=list)
    times: Counter[str] = field(default_factory=Counter)
    last: Counter[str] = field(default_factory=Counter)  # by sender, the number of its latest message
    overtaken: list[str] = field(default_factory=list)  # what came after a later one of its sender
    excused: int = 0  # of the messages sent first, so many may be missing: the receiver was told so


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """The sums of a ledger; what stands below `gaps` must be zero."""

    sent: int
    delivered: int
    refused: int
    gaps: int  # messages that a receiver missed and was told that it may have
    lost: int
    duplicated: int
    out_of_order: int
    contradicted: int  # delivered although the sender was told that it was not sent

    def __str__(self) -> str:
        return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in dataclasses.asdict(self).items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """The nicknames of a channel's list of users, against those of the people who are there; what stands below
    `registered` must be zero."""

    registered: int
    missing: int  # somebody is there under it, and it is not in the list
    strange: int  # nobody is there under it (any more)
    doubled: int  # it stands in the list more than once

    @classmethod
    def compare(cls, there: Collection[str], told: Sequence[str]) -> Self:
        return cls(
            registered=len(there),
            missing=len(set(there) - set(told)),
            strange=len(set(told) - set(there)),
            doubled=len(told) - len(set(told)),
        )

    @property
    def are_right(self) -> bool:
        return not (self.missing or self.strange or self.doubled)


class Ledger:
    """All messages of a channel that tests send, by their ids."""

    def __init__(self) -> None:
        self.sent: dict[str, Sent] = {}
        self.delivered: set[str] = set()
        self._refused: set[str] = set()
        self._heard: dict[str, Heard] = {}
        self._numbers: Counter[str] = Counter()
        self._sent_again: set[str] = set()
        self.may_be_late: set[str] = set()  # refused perhaps, and sent again behind later ones
        self._echoes: Counter[str] = Counter()  # that a sender may hear besides, by the id

    def join(self, receiver: str) -> None:
        """From the first message on, this receiver hears everything."""
        self._heard[receiver] = Heard()

    def send(self, id: str, sender: str, type: str) -> None:
        self._numbers[sender] += 1
        self.sent[id] = Sent(sender, self._numbers[sender], type, len(self.sent))

    def send_again(self, id: str, *, was_refused: bool = False) -> None:
        """Its sender does not know whether it was published: if it was, an echo says so, to nobody else. A refusal says
        nothing of the first.

        Args:
            was_refused: perhaps. Then it was not in the row, and what its sender said after it was published before.
        """
        if was_refused:
            self.may_be_late.add(id)
        self._echoes[id] += 1
        self._sent_again.add(id)

    def may_be_echo(self, receiver: str, id: str) -> bool:
        """Whether this may be the answer to a message that was sent again. The receiver cannot know, and may hear it
        once more when it comes back."""
        if id not in self._sent_again or receiver != self.sent[id].sender:
            return False
        self._echoes[id] += 1
        return True

    def hear(self, receiver: str, id: str, *, may_repeat: bool = False, fills_gap: bool = False) -> None:
        """Notes a message.

        Args:
            may_repeat: it came with a history that was not asked for exactly, and may have come before.
            fills_gap: so may it if it had been sent when the receiver was told of a gap: Redis lost it, it is said
                again, and this front had not heard it the first time, as that one had where the receiver was then.
        """
        if id not in self.sent:
            return
        heard = self._heard[receiver]
        if id in heard.times and (may_repeat or (fills_gap and self.sent[id].place < heard.excused)):
            return
        if id in heard.times and receiver == self.sent[id].sender and self._echoes[id]:
            self._echoes[id] -= 1
            return
        heard.times[id] += 1
        if heard.times[id] == 1:
            heard.order.append(id)
            if id not in self._sent_again or receiver != self.sent[id].sender:  # an echo keeps no order
                self._check_order(heard, id)
        self.delivered.add(id)

    def _check_order(self, heard: Heard, id: str) -> None:
        sent = self.sent[id]
        # What comes late to one who was told of a gap fills it.
        if sent.number < heard.last[sent.sender] and sent.place >= heard.excused and id not in self.may_be_late:
            heard.overtaken.append(id)
        heard.last[sent.sender] = max(heard.last[sent.sender], sent.number)

    def has_heard(self, receiver: str, id: str) -> bool:
        return id in self._heard[receiver].times

    def tell_of_gap(self, receiver: str) -> None:
        """The receiver was told that it may have missed something, of what had been sent by then."""
        self._heard[receiver].excused = len(self.sent)

    def refuse(self, id: str) -> None:
        """The sender was told, for good, that this was not sent."""
        self._refused.add(id)

    @property
    def resolved(self) -> int:
        """How many messages have come to an end, as far as is known."""
        return len(self.delivered | self._refused)

    def resolved_of(self, sender: str) -> int:
        """… of those that somebody has sent."""
        return sum(self.sent[id].sender == sender for id in self.delivered | self._refused)

    def missing(self) -> dict[str, list[str]]:
        """By receiver, what was delivered to somebody, or never refused, and has not come here: nothing, in the end."""
        return {name: ids for name in self._heard if (ids := list(self._absent(name, excused=False)))}

    def gaps(self) -> int:
        """How many messages receivers have missed, and were told that they may have."""
        return sum(len(list(self._absent(name, excused=True))) for name in self._heard)

    def _absent(self, receiver: str, *, excused: bool) -> Iterator[str]:
        heard = self._heard[receiver]
        for id, sent in self.sent.items():
            is_due = id in self.delivered or id not in self._refused
            is_excused = sent.place < heard.excused and id in self.delivered
            if is_due and id not in heard.times and is_excused is excused:
                yield id

    def out_of_order(self) -> list[tuple[str, str]]:
        """Receivers with the ids that came to them after a later one of the same sender."""
        return [(name, id) for name, heard in self._heard.items() for id in heard.overtaken]

    def duplicated(self) -> list[tuple[str, str]]:
        """Receivers with the ids that came to them more than once."""
        return [(name, id) for name, heard in self._heard.items() for id, times in heard.times.items() if times > 1]

    def contradicted(self) -> set[str]:
        return (self.delivered & self._refused) - self._sent_again

    def orders(self) -> dict[str, list[str]]:
        """The ids in the order in which each receiver heard them first."""
        return {receiver: list(heard.order) for receiver, heard in self._heard.items()}

    def balance(self) -> Balance:
        nowhere = {id for id in self.sent if id not in self.delivered and id not in self._refused}
        lost = nowhere.union(*self.missing().values())
        return Balance(
            sent=len(self.sent),
            delivered=len(self.delivered),
            refused=len(self._refused - self.delivered),
            gaps=self.gaps(),
            lost=len(lost),
            duplicated=len(self.duplicated()),
            out_of_order=len(self.out_of_order()),
            contradicted=len(self.contradicted()),
        )

    def faults(self) -> list[str]:
        """What does not hold, in words; nothing if all is well."""
        balance = self.balance()
        wrong = {
            "lost": {name: self._shown(ids) for name, ids in self.missing().items()} if balance.lost else {},
            "duplicated": [(name, self._shown([id])) for name, id in self.duplicated()],
            "out of order": [(name, self._shown([id])) for name, id in self.out_of_order()],
            "refused and delivered": self._shown(sorted(self.contradicted())),
        }
        return [f"{what}: {found}" for what, found in wrong.items() if found]

    def _shown(self, ids: list[str]) -> list[str]:
        sent = [self.sent[id] for id in ids[:12]]
        return [f"{one.sender} {one.number} {one.type} {id[:8]}" for one, id in zip(sent, ids, strict=False)]
