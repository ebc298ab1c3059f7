"""The kernels take as many threads as are fast: all on a quiet machine, fewer while others hold the cores."""

import pytest

from inference.kernel_threads import KernelThreads


def count_after(threads, seconds_of, for_seconds):
    """The number of threads after so many seconds, in which a call takes seconds_of(number of threads)."""
    while for_seconds > 0:
        seconds = seconds_of(threads.next_count)
        threads.note(seconds)
        for_seconds -= seconds
    return threads.count


def quiet(count):
    return 0.002 / count**0.7


def busy(count):
    return 0.004 if count == 1 else 0.03


@pytest.mark.parametrize("most, half", [(2, 1), (8, 4), (6, 3)])
def test_the_fastest_number_is_taken(most, half):
    """All threads while nothing is beside; one when every other one has to wait; and all of them again."""
    threads = KernelThreads(most)
    assert count_after(threads, quiet, 10) == most
    assert count_after(threads, lambda count: 0.002 if count == half else 0.02, 20) == half
    assert count_after(threads, busy, 60) == 1
    assert count_after(threads, quiet, 120) == most


def test_trials_cost_little():
    """What is tried in vain is tried seldom: 4% of the time at most, though it is seven times as slow."""
    threads, spent, lost = KernelThreads(2), 0.0, 0.0
    assert count_after(threads, quiet, 5) == 2 and count_after(threads, busy, 10) == 1
    while spent < 100:
        seconds = busy(threads.next_count)
        spent, lost = spent + seconds, lost + seconds - busy(1)
        threads.note(seconds)
    assert threads.count == 1 and 0 < lost < 0.04 * spent


def test_there_are_no_trials_where_nobody_waits():
    threads, counts = KernelThreads(8), set()
    count_after(threads, lambda count: counts.add(count) or quiet(count), 30)
    assert counts == {8}


def test_one_thread_is_never_tried():
    threads = KernelThreads(1)
    assert count_after(threads, quiet, 5) == 1 and threads.next_count == 1
