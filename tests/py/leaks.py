# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whether calls that fail leave memory behind."""

import contextlib
import gc
import tracemalloc


def grown_by(calls, rounds, settling):
    """How many bytes more are allocated after so many rounds of the calls, whatever they raise;
    what caches take is allocated in the rounds for settling before."""
    def run(times):
        for _ in range(times):
            for call in calls:
                with contextlib.suppress(Exception):
                    call()
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        start = run(settling)
        return run(rounds) - start
    finally:
        tracemalloc.stop()
