"""Ports that are still free when a server comes back after a restart."""

import os
import random
import socket

# Below the range from which the system takes ports for outgoing connections: there, a client that
# tries again and again could take the very port of the server that is down.
FIRST, EACH = 20_000, 600


def free_port():
    """Return a port that is free now and that no other test process takes, of this run or another."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 20
    for _ in range(EACH):
        port = FIRST + worker * EACH + random.randrange(EACH)
        if _free(port) and _claimed(port):
            return port
    raise OSError("no port is free")


def _free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _claimed(port):
    """Claim a port for the life of this process, whether anybody listens there or not."""
    with socket.socket(socket.AF_UNIX) as claim:
        try:
            claim.bind(f"\0cpo-test-port-{port}")
        except OSError:
            return False
        # Nobody closes it: the name is given back with the end of the process.
        claim.detach()
    return True
