"""Turns: so many a pass, first come first served, whoever gives up."""

import asyncio

import pytest

from api.licences.turns import Turns


def passes_of(count: int, each_pass: int, given_up: frozenset[int] = frozenset()) -> list[list[int]]:
    """Return who had a turn, pass by pass of a loop, after so many came in one pass."""

    async def run() -> list[list[int]]:
        turns = Turns(each_pass)
        passes: list[list[int]] = [[]]

        async def work(number: int) -> None:
            await turns.take()
            passes[-1].append(number)

        tasks = [asyncio.create_task(work(number)) for number in range(count)]
        while not all(task.done() for task in tasks):
            await asyncio.sleep(0)
            if passes[-1]:
                passes.append([])
            for number in given_up:
                tasks[number].cancel()
        return [each for each in passes if each]

    return asyncio.run(run())


@pytest.mark.parametrize("each_pass", [1, 4, 7])
def test_no_pass_has_more_than_its_turns_and_all_come_in_order(each_pass: int) -> None:
    passes = passes_of(30, each_pass)
    assert [number for each in passes for number in each] == list(range(30))
    assert len(passes[0]) == each_pass, "who comes to an idle loop does not wait"
    assert all(len(each) <= each_pass for each in passes)
    assert len(passes) <= 30 // each_pass + 2


def test_who_gave_up_takes_no_turn() -> None:
    passes = passes_of(12, 4, given_up=frozenset({5, 6, 7, 8}))
    assert passes == [[0, 1, 2, 3], [4, 9, 10, 11]]


def test_an_idle_loop_is_not_kept_busy() -> None:
    async def run() -> bool:
        turns = Turns(2)
        for _ in range(5):
            await turns.take()
        for _ in range(3):
            await asyncio.sleep(0)
        return turns._is_called

    assert asyncio.run(run()) is False


def test_whoever_waits_for_the_last_is_told_once_none_waits() -> None:
    async def run() -> list[int]:
        done: list[int] = []
        told: list[int] = []
        turns = Turns(4, lambda: told.append(len(done)))

        async def work(number: int) -> None:
            await turns.take()
            done.append(number)

        await asyncio.gather(*(work(number) for number in range(10)))
        await asyncio.sleep(0.01)
        await work(10)
        await asyncio.sleep(0.01)
        return told

    assert asyncio.run(run()) == [10, 11]
