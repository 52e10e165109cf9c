from __future__ import annotations
import time
from holder.types import Stage
from tests.misbehaviour.world import World

def test_honest(world: World) -> None:
    t=time.time()
    rid = world.open()
    world.contributed(rid)
    print(time.time()-t)
    world.answered(rid)
    print(time.time()-t)
    a = world.buyer.fetch(rid)
    print(a, time.time()-t)
    world.run_to(rid, Stage.DONE)
