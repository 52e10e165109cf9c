"""Group commits: each caller has its own answer, and a failure of the group is everybody's."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from ledger.licences.errors import BookClosed, BookFull
from ledger.licences.group import GroupCommit


def test_concurrent_callers_get_their_own_answers() -> None:
    committed: list[int] = []

    def commit(items: Sequence[int]) -> Sequence[int]:
        committed.extend(items)
        return [2 * item for item in items]

    group: GroupCommit[int, int] = GroupCommit(commit)
    answers: dict[int, int] = {}

    def hand_in(part: int) -> None:
        for item in range(part, 24, 8):
            answers[item] = group.enqueue(item).result(30)

    threads = [threading.Thread(target=hand_in, args=(part,)) for part in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    group.close()
    assert answers == {item: 2 * item for item in range(24)}
    assert sorted(committed) == list(range(24))


def test_items_that_arrive_together_are_one_commit_with_an_answer_each() -> None:
    group: GroupCommit[int, int | None] = GroupCommit(
        lambda items: [item if item % 2 else None for item in items], delay_s=0.05
    )
    odd, even = group.enqueue(1), group.enqueue(2)
    assert odd.group is even.group
    assert (odd.result(30), even.result(30)) == (1, None)
    group.close()


def test_what_waits_when_the_group_is_closed_is_committed_in_groups_of_the_most_items() -> None:
    sizes: list[int] = []
    begun, go_on = threading.Event(), threading.Event()

    def commit(items: Sequence[int]) -> Sequence[int]:
        begun.set()
        assert go_on.wait(30)
        sizes.append(len(items))
        return items

    group: GroupCommit[int, int] = GroupCommit(commit, batch_max=2)
    first = group.enqueue(0)
    assert begun.wait(30)
    waiting = [group.enqueue(1), group.enqueue(2)]
    go_on.set()
    group.close()
    assert [ticket.result(30) for ticket in (first, *waiting)] == [0, 1, 2]
    assert sizes == [1, 2]


def test_a_failed_commit_fails_its_group_and_not_the_next() -> None:
    full = True

    def commit(items: Sequence[int]) -> Sequence[int]:
        if full:
            raise BookFull("test")
        return [2 * item for item in items]

    group: GroupCommit[int, int] = GroupCommit(commit)
    with pytest.raises(BookFull):
        group.enqueue(1).result(10)
    full = False
    assert group.enqueue(21).result(10) == 42
    group.close()
    group.close()
    with pytest.raises(BookClosed):
        group.enqueue(1)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_programming_error_lets_nobody_wait_for_ever() -> None:
    def commit(items: Sequence[int]) -> Sequence[int]:
        raise ZeroDivisionError

    group: GroupCommit[int, int] = GroupCommit(commit)
    with pytest.raises(ZeroDivisionError):
        group.enqueue(1).result(10)
    while True:
        try:
            ticket = group.enqueue(2)
        except BookClosed:
            break
        with pytest.raises((BookClosed, ZeroDivisionError)):
            ticket.result(10)
    group.close()  # its thread has ended: what it raised is this test's


def test_a_group_that_is_flushed_does_not_wait_for_others() -> None:
    group: GroupCommit[int, int] = GroupCommit(lambda items: items, delay_s=300)
    for number in range(3):
        ticket = group.enqueue(number)
        group.flush()
        assert ticket.result(30) == number
    group.flush()  # nothing waits, so that the next group is not hurried
    ticket = group.enqueue(3)
    assert not ticket.group.done()
    group.close()
    assert ticket.result(30) == 3
