"""Values in files: what prometheus_client reads in them, and what a process that comes after finds."""

from pathlib import Path

from prometheus_client.mmap_dict import MmapedDict

from gischat.observability.counter_files import FILE_BYTES, Counter, ValuesFile

# Of every length modulo 8, not all of ASCII, and more than a file has room for at first.
AMOUNTS = {f"{'é' * (number % 9)}{number}": number / 8 for number in range(4000)}


def test_prometheus_client_and_a_process_that_comes_after_read_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "counter_front-1.db"
    first = ValuesFile(path)
    for key, amount in AMOUNTS.items():
        first.write(first.place_of(key), amount)
    assert path.stat().st_size > FILE_BYTES
    assert {key: amount for key, amount, _, _ in MmapedDict.read_all_values_from_file(path)} == AMOUNTS
    second = ValuesFile(path)
    assert {key: second.read(second.place_of(key)) for key in AMOUNTS} == AMOUNTS
    assert second.read(second.place_of("another")) == 0


def test_samples_can_be_told_while_values_begin() -> None:
    # A thread tells them, and the loop goes on meanwhile
    counter = Counter("gischat_things_total", "Things.", ["kind"])
    counter.labels("one").inc()
    telling = counter.samples()
    next(telling)

    counter.labels("two").inc()

    assert list(telling) == []
