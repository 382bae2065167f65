from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from instructseg_ros.tabletop.world.simulator import Tabletop


def test_threads_that_follow_each_other_see_the_same(tabletop: Tabletop) -> None:
    tabletop.reset(1)
    first = tabletop.observe(0.5).rgb
    for _ in range(3):
        with ThreadPoolExecutor(1) as pool:
            assert np.array_equal(pool.submit(tabletop.observe, 0.5).result().rgb, first)
