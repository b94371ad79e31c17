"""What a process and all of its children cost: processor time and memory, as Linux counts them."""

import os
import signal
import subprocess
import time
from pathlib import Path

PROC = Path("/proc")


class Process:
    """A program under measurement, with everything that it starts."""

    def __init__(self, command, cpus="", env=None, log=None):
        pinned = ["taskset", "-c", cpus] if cpus else []
        self.child = subprocess.Popen(
            [*pinned, *command],
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=log or subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def pids(self):
        """Its own and those of its descendants."""
        children = {}
        for entry in PROC.iterdir():
            if entry.name.isdigit():
                try:
                    parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                except (OSError, IndexError):
                    continue
                children.setdefault(parent, []).append(int(entry.name))
        found, rest = [], [self.child.pid]
        while rest:
            pid = rest.pop()
            found.append(pid)
            rest.extend(children.get(pid, []))
        return found

    def cpu_us(self):
        """Time on a processor since the start, of all threads. Those that have ended in between are not in it."""
        total = 0
        for pid in self.pids():
            for task in (PROC / str(pid) / "task").glob("*/schedstat"):
                try:
                    total += int(task.read_text().split()[0])
                except OSError:
                    continue
        return total / 1000

    def memory(self):
        """Resident bytes."""
        total = 0
        for pid in self.pids():
            try:
                status = (PROC / str(pid) / "status").read_text()
            except OSError:
                continue
            total += sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
        return total * 1024

    def has_ended(self):
        return self.child.poll() is not None

    def stop(self):
        """Ends it, in peace if it wants to."""
        for sign, patience in ((signal.SIGTERM, 5), (signal.SIGKILL, 5)):
            if self.has_ended():
                break
            os.killpg(self.child.pid, sign)
            end = time.monotonic() + patience
            while not self.has_ended() and time.monotonic() < end:
                time.sleep(0.02)
        self.child.wait()
