"""What is remembered is bounded by bytes."""

from __future__ import annotations

from criproxy.http2.cache import ENTRY, Cache


def test_what_was_kept_first_goes_first() -> None:
    cache: Cache[str, int] = Cache(10 * (ENTRY + 10))
    for number in range(12):
        cache.keep(f"{number}", number, 10)
    assert [cache.get(f"{number}") for number in range(12)] == [None, None, *range(2, 12)]
    assert cache.size == cache.limit


def test_what_is_kept_again_counts_once_and_goes_last() -> None:
    cache: Cache[str, int] = Cache(10 * (ENTRY + 10))
    for number in range(10):
        cache.keep(f"{number}", number, 10)
    cache.keep("0", 100, 10)
    cache.keep("new", 200, 10)
    assert (cache.get("0"), cache.get("1"), len(cache)) == (100, None, 10)
    assert cache.items() == [*((f"{number}", number) for number in range(2, 10)), ("0", 100), ("new", 200)]


def test_what_is_large_does_not_push_the_others_out() -> None:
    cache: Cache[str, int] = Cache(10_000)
    cache.keep("small", 1, 10)
    cache.keep("large", 2, 5_000)
    assert (cache.get("small"), cache.get("large"), len(cache)) == (1, None, 1)


def test_nothing_is_left_after_it_is_cleared() -> None:
    cache: Cache[str, int] = Cache(10_000)
    cache.keep("a", 1, 10)
    cache.clear()
    assert (cache.get("a"), len(cache), cache.size) == (None, 0, 0)
    cache.keep("a", 1, 10)
    assert (len(cache), cache.size) == (1, ENTRY + 10)
