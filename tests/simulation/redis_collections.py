"""The commands of keys, strings, hashes, lists, sets and sorted sets."""

from collections.abc import Collection

from tests.simulation.redis_types import OK, Keys, SortedSet, Status, Stream, integer

NAMES = {bytes: b"string", dict: b"hash", list: b"list", set: b"set", SortedSet: b"zset", Stream: b"stream"}


class Collections(Keys):
    # Keys

    def do_del(self, *keys: bytes) -> int:
        return sum(self.drop(key) for key in keys if self.has(key))

    def do_type(self, key: bytes) -> Status:
        return Status(NAMES[type(self.keys[key])] if self.has(key) else b"none")

    def do_pexpire(self, key: bytes, milliseconds: bytes) -> int:
        if not self.has(key):
            return 0
        self.expires[key] = self.now() + integer(milliseconds)
        return 1

    def do_expire(self, key: bytes, seconds: bytes) -> int:
        return self.do_pexpire(key, b"%d" % (1000 * integer(seconds)))

    def do_persist(self, key: bytes) -> int:
        return int(self.has(key) and self.expires.pop(key, None) is not None)

    def do_pttl(self, key: bytes) -> int:
        if not self.has(key):
            return -2
        return self.expires[key] - self.now() if key in self.expires else -1

    def do_time(self) -> list[bytes]:
        now = self.clock()
        return [b"%d" % (now // 1000), b"%d" % (now % 1000 * 1000)]

    # Strings

    def do_get(self, key: bytes) -> bytes | None:
        value: bytes | None = self.get(key, bytes)
        return value

    def do_mget(self, *keys: bytes) -> list[bytes | None]:
        values = [self.keys[key] if self.has(key) else None for key in keys]
        return [value if isinstance(value, bytes) else None for value in values]

    def do_set(self, key: bytes, value: bytes, *options: bytes) -> Status | None:
        is_new = options[:1] == (b"NX",)
        if is_new and self.has(key):
            return None
        self.drop(key)
        self.keys[key] = bytes(value)
        if expiry := options[is_new:]:
            assert expiry[0] == b"PX", options
            self.do_pexpire(key, expiry[1])
        return OK

    def do_incrby(self, key: bytes, by: bytes) -> int:
        value = integer(self.get(key, bytes) or b"0") + integer(by)
        self.keys[key] = b"%d" % value
        return value

    def do_decrby(self, key: bytes, by: bytes) -> int:
        return self.do_incrby(key, b"%d" % -integer(by))

    # Hashes

    def do_hget(self, key: bytes, field: bytes) -> bytes | None:
        value: bytes | None = self.read(key, dict).get(field)
        return value

    def do_hmget(self, key: bytes, *fields: bytes) -> list[bytes | None]:
        found = self.read(key, dict)
        return [found.get(field) for field in fields]

    def do_hgetall(self, key: bytes) -> list[bytes]:
        return [part for pair in self.read(key, dict).items() for part in pair]

    def do_hkeys(self, key: bytes) -> list[bytes]:
        return list(self.read(key, dict))

    def do_hlen(self, key: bytes) -> int:
        return len(self.read(key, dict))

    def do_hexists(self, key: bytes, field: bytes) -> int:
        return int(field in self.read(key, dict))

    def do_hset(self, key: bytes, *pairs: bytes) -> int:
        found = self.made(key, dict)
        before = len(found)
        found.update(zip(pairs[::2], pairs[1::2], strict=True))
        return len(found) - before

    def do_hdel(self, key: bytes, *fields: bytes) -> int:
        found = self.read(key, dict)
        removed = sum(found.pop(field, None) is not None for field in fields)
        self.tidy(key)
        return removed

    def do_hincrby(self, key: bytes, field: bytes, by: bytes) -> int:
        found = self.made(key, dict)
        value = integer(found.get(field, b"0")) + integer(by)
        found[field] = b"%d" % value
        return value

    # Lists

    def do_rpush(self, key: bytes, value: bytes) -> int:
        found = self.made(key, list)
        found.append(value)
        return len(found)

    def do_lpop(self, key: bytes) -> bytes | None:
        found = self.read(key, list)
        first: bytes | None = found.pop(0) if found else None
        self.tidy(key)
        return first

    def do_lindex(self, key: bytes, place: bytes) -> bytes | None:
        found: list[bytes] = self.read(key, list)
        return found[integer(place)] if -len(found) <= integer(place) < len(found) else None

    def do_lrange(self, key: bytes, first: bytes, last: bytes) -> list[bytes]:
        found: list[bytes] = self.read(key, list)
        return found[_slice(found, first, last)]

    def do_lrem(self, key: bytes, count: bytes, value: bytes) -> int:
        assert count == b"1"
        found = self.read(key, list)
        if value not in found:
            return 0
        found.remove(value)
        self.tidy(key)
        return 1

    # Sets

    def do_sadd(self, key: bytes, member: bytes) -> int:
        found = self.made(key, set)
        before = len(found)
        found.add(member)
        return len(found) - before

    def do_srem(self, key: bytes, member: bytes) -> int:
        found = self.read(key, set)
        before = len(found)
        found.discard(member)
        self.tidy(key)
        return before - len(found)

    # Sorted sets

    def do_zadd(self, key: bytes, *words: bytes) -> int:
        *options, score, member = words
        assert options in ([], [b"NX"], [b"XX"]), options
        is_old = member in self.read(key, SortedSet)
        if (options == [b"NX"] and is_old) or (options == [b"XX"] and not is_old):
            return 0
        self.made(key, SortedSet)[member] = float(score)
        return int(not is_old)

    def do_zcard(self, key: bytes) -> int:
        return len(self.read(key, SortedSet))

    def do_zscore(self, key: bytes, member: bytes) -> bytes | None:
        found = self.read(key, SortedSet)
        return _shown(found[member]) if member in found else None

    def do_zrange(self, key: bytes, first: bytes, last: bytes, with_scores: bytes | None = None) -> list[bytes]:
        found = self.read(key, SortedSet)
        chosen = found.ordered()[_slice(found, first, last)]
        if with_scores is None:
            return chosen
        assert with_scores == b"WITHSCORES"
        return [part for member in chosen for part in (member, _shown(found[member]))]

    def do_zrangebyscore(self, key: bytes, least: bytes, most: bytes) -> list[bytes]:
        found: SortedSet = self.read(key, SortedSet)
        return found.between(least, most)

    def do_zrangebylex(self, key: bytes, low: bytes, high: bytes, *limit: bytes) -> list[bytes]:
        word, first, count = limit
        assert (low[:1], high[:1], word) == (b"[", b"(", b"LIMIT")
        chosen = [member for member in self.read(key, SortedSet).ordered() if low[1:] <= member < high[1:]]
        return chosen[integer(first) : integer(first) + integer(count)]

    def do_zrem(self, key: bytes, *members: bytes) -> int:
        found = self.read(key, SortedSet)
        removed = sum(found.pop(member, None) is not None for member in members)
        self.tidy(key)
        return removed

    def do_zremrangebyscore(self, key: bytes, least: bytes, most: bytes) -> int:
        return self.do_zrem(key, *self.read(key, SortedSet).between(least, most))

    def do_zremrangebyrank(self, key: bytes, first: bytes, last: bytes) -> int:
        return self.do_zrem(key, *self.do_zrange(key, first, last))


def _slice(of: Collection[object], first: bytes, last: bytes) -> slice:
    begin, end = (place + len(of) if place < 0 else place for place in (integer(first), integer(last)))
    return slice(max(begin, 0), max(end + 1, 0))


def _shown(score: float) -> bytes:
    return b"%d" % score if score == int(score) else repr(score).encode()
