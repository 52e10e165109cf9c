"""The demonstration: everything that licences must do and must not do, one step after another, over real processes."""

from __future__ import annotations

from cli.home import Home
from cli.licence import story_audit, story_holder, story_life, story_trust
from cli.licence.cast import Cast
from cli.licence.steps import Steps
from cli.licence.world import OFFICES, THRESHOLD, WITNESSES, World


def run(home: Home, *, quiet: bool) -> Steps:
    """Build two cities in an empty instance and go through the life of their licences; the caller stops the processes.

    Args:
        home: the instance.
        quiet: show nothing.
    """
    steps = Steps(quiet=quiet)
    world = World(home)
    if not set_up(world, steps):
        return steps
    cast = Cast(world, steps, world.holder_key())
    for chapter in (story_life, story_trust, story_holder, story_audit):
        chapter.live(cast)
    return steps


def set_up(world: World, steps: Steps) -> bool:
    """Start everything; says whether all of it runs."""
    steps.heading("two cities, four witnesses, one chain")

    def found_cities() -> str:
        trusts = world.deploy()
        world.make_cities(trusts, world.make_witnesses())
        return ", ".join(f"{city.name} {city.origin}" for city in world.cities.values())

    def start() -> str:
        world.start_processes()
        return f"{len(WITNESSES)} witnesses, quorum {THRESHOLD}; {len(world.cities)} services"

    def admit() -> str:
        world.admit()
        return ", ".join(office.name for office in OFFICES)

    return (
        steps.run("a chain", world.start_chain)
        and steps.run("contracts, keys and logs of two cities", found_cities)
        and steps.run("witnesses and services answer", start)
        and steps.run("registrars admit three departments' keys", admit)
    )
