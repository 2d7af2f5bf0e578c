"""A process that is killed while it writes a store."""

from __future__ import annotations

import textwrap

KILLED = textwrap.dedent("""
    import os, signal, sys, time
    from pathlib import Path
    from mmrope_eval.messages import Response
    from mmrope_eval.store.store import ResponseStore
    store = ResponseStore(Path(sys.argv[1]))
    for i in range(int(sys.argv[2])):
        store.put("a", Response(f"t/{i}", str(i), (i,), "stop", 1))
        if i + 1 == int(sys.argv[2]) - 5:
            time.sleep(0.6)
    os.kill(os.getpid(), signal.SIGKILL)
""")
