"""Ledger of a run under faults: which messages were sent, refused and received, how often, and in which order.

Pure bookkeeping: clients write to it (see peers.py), tests query it. A message ends in one of two ways: everyone
present receives it once, or its sender is told that it was not sent.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Sent:
    """A sent message, the `number`-th of its sender and the `place`-th of all."""

    sender: str
    number: int
    type: str
    place: int


@dataclass(slots=True)
class Heard:
    """The messages of one receiver."""

    times: Counter[str] = field(default_factory=Counter)
    last: Counter[str] = field(default_factory=Counter)  # by sender, the number of its latest message
    overtaken: list[str] = field(default_factory=list)  # arrived after a later message of the same sender
    excused: int = 0  # number of first messages that may be missing, as the receiver was told


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """The sums of a ledger; those after `gaps` must be zero."""

    sent: int
    delivered: int
    refused: int
    gaps: int  # messages missed by a receiver that was told so
    lost: int
    duplicated: int
    out_of_order: int
    contradicted: int  # delivered although the sender was told that it was not sent

    def __str__(self) -> str:
        return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in dataclasses.asdict(self).items())


class Ledger:
    """All messages that tests send to a channel, by id."""

    def __init__(self) -> None:
        self.sent: dict[str, Sent] = {}
        self.delivered: set[str] = set()
        self._refused: set[str] = set()
        self._heard: dict[str, Heard] = {}
        self._numbers: Counter[str] = Counter()
        self._sent_again: set[str] = set()
        self.may_be_late: set[str] = set()  # perhaps refused, and sent again after later ones
        self._echoes: Counter[str] = Counter()  # number of further echoes that the sender may receive, by id

    def join(self, receiver: str) -> None:
        """Register a receiver, which must receive everything from the first message on."""
        self._heard[receiver] = Heard()

    def send(self, id: str, sender: str, type: str) -> None:
        self._numbers[sender] += 1
        self.sent[id] = Sent(sender, self._numbers[sender], type, len(self.sent))

    def send_again(self, id: str, *, was_refused: bool = False) -> None:
        """Record that a sender repeats a message, not knowing whether it was published.

        If it was, the sender alone receives an echo. A refusal says nothing about the first attempt.

        Args:
            was_refused: the first attempt was perhaps refused; then later messages may have been published before.
        """
        if was_refused:
            self.may_be_late.add(id)
        self._echoes[id] += 1
        self._sent_again.add(id)

    def may_be_echo(self, receiver: str, id: str) -> bool:
        """Whether this may be the echo of a repeated message. The receiver cannot know, and may receive it again after
        a reconnection."""
        if id not in self._sent_again or receiver != self.sent[id].sender:
            return False
        self._echoes[id] += 1
        return True

    def hear(self, receiver: str, id: str, *, may_repeat: bool = False, fills_gap: bool = False) -> None:
        """Record a received message.

        Args:
            may_repeat: it is from a history without an exact position, and may have been received before.
            fills_gap: the same, if it had been sent before the receiver was told of a gap: Redis lost it, it was
                replayed, and this front, unlike the receiver's earlier one, had not received it the first time.
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
        is_echo = id in self._sent_again and receiver == self.sent[id].sender  # it keeps no order
        if heard.times[id] == 1 and not is_echo:
            self._check_order(heard, id)
        self.delivered.add(id)

    def _check_order(self, heard: Heard, id: str) -> None:
        sent = self.sent[id]
        # A late message fills the gap of a receiver that was told of one.
        if sent.number < heard.last[sent.sender] and sent.place >= heard.excused and id not in self.may_be_late:
            heard.overtaken.append(id)
        heard.last[sent.sender] = max(heard.last[sent.sender], sent.number)

    def has_heard(self, receiver: str, id: str) -> bool:
        return id in self._heard[receiver].times

    def tell_of_gap(self, receiver: str) -> None:
        """Record that a receiver was told that it may have missed messages sent so far."""
        self._heard[receiver].excused = len(self.sent)

    def refuse(self, id: str) -> None:
        """Record that the sender was told, finally, that a message was not sent."""
        self._refused.add(id)

    @property
    def resolved(self) -> int:
        """The number of messages known to be delivered or refused."""
        return len(self.delivered | self._refused)

    def resolved_of(self, sender: str) -> int:
        """The number of a sender's messages known to be delivered or refused."""
        return sum(self.sent[id].sender == sender for id in self.delivered | self._refused)

    def missing(self) -> dict[str, list[str]]:
        """Receiver -> messages that it lacks, though delivered to others or not refused; empty in the end."""
        return {name: ids for name in self._heard if (ids := list(self._absent(name, excused=False)))}

    def gaps(self) -> int:
        """The number of messages missed by receivers that were told so."""
        return sum(len(list(self._absent(name, excused=True))) for name in self._heard)

    def _absent(self, receiver: str, *, excused: bool) -> Iterator[str]:
        heard = self._heard[receiver]
        for id, sent in self.sent.items():
            is_due = id in self.delivered or id not in self._refused
            is_excused = sent.place < heard.excused and id in self.delivered
            if is_due and id not in heard.times and is_excused is excused:
                yield id

    def out_of_order(self) -> list[tuple[str, str]]:
        """(receiver, id) of messages that arrived after a later one of the same sender."""
        return [(name, id) for name, heard in self._heard.items() for id in heard.overtaken]

    def duplicated(self) -> list[tuple[str, str]]:
        """(receiver, id) of messages that arrived more than once."""
        return [(name, id) for name, heard in self._heard.items() for id, times in heard.times.items() if times > 1]

    def contradicted(self) -> set[str]:
        return (self.delivered & self._refused) - self._sent_again

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
        """Descriptions of all broken promises; empty if all is well."""
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
