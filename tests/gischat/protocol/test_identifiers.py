"""A message's id is a random UUID, written as everybody writes it."""

import uuid

from gischat.protocol.identifiers import new_id


def test_ids_are_random_uuids() -> None:
    ids = {new_id() for _ in range(1000)}
    assert len(ids) == 1000
    for id in ids:
        read = uuid.UUID(id)
        assert (str(read), read.version, read.variant) == (id, 4, uuid.RFC_4122)
