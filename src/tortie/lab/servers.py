"""What listens in a pod: started in its network namespace, and awaited."""

import asyncio
import sys
from collections.abc import Sequence

from tortie.base import process
from tortie.lab.names import LabNames, netns_path
from tortie.lab.spec import LabError

READY_SECONDS = 20.0


async def start_server(names: LabNames, pod: str, serve: Sequence[str], *, node: str, netns: str) -> int:
    """Start the servers of pod namespace/name on a node; return the process's pid once all listen, 0 where there are none.

    Raises LabError with the end of their log.
    """
    if not serve:
        return 0
    log_path = names.run_dir(node) / f"serve-{pod.replace('/', '.')}.log"
    log_path.unlink(missing_ok=True)
    pid = await process.start_detached(
        [sys.executable, "-m", "tortie.lab.serve", pod, *serve], log_path=log_path, netns_path=netns_path(netns)
    )
    deadline = asyncio.get_running_loop().time() + READY_SECONDS
    while "ready" not in log_path.read_text(errors="replace"):
        if asyncio.get_running_loop().time() > deadline or not process.is_alive(pid):
            raise LabError(f"pod {pod}: its servers did not start: {log_path.read_text(errors='replace')[-500:]}")
        await asyncio.sleep(0.02)
    return pid
