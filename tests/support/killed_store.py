"""A process that is killed while it writes a store: what it wrote last is in the log alone."""

from __future__ import annotations

import textwrap

KILLED = textwrap.dedent("""
    import os, signal, sys
    from pathlib import Path
    from types import SimpleNamespace
    from mmrope_eval.messages import Response
    from mmrope_eval.store import store as stores
    clock = [1.0]
    stores.time = SimpleNamespace(monotonic=lambda: clock[0])
    store = stores.ResponseStore(Path(sys.argv[1]))
    for i in range(int(sys.argv[2])):
        store.put_all([stores.Outcome("a", Response(f"t/{i}", str(i), (i,), "stop", 1))])
        if i + 1 == int(sys.argv[2]) - 3:
            clock[0] += 0.6
    os.kill(os.getpid(), signal.SIGKILL)
""")
