"""evenkeel as the subject of a measurement: started with a config, asked, and told to reload."""

import http.client
import json
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from process import Process


class Wrong(Exception):
    """A measurement that does not count."""


@dataclass
class Tools:
    """Programs that measure, and which processors they have."""

    evenkeel: Path
    load: Path
    forwarder: Path
    proxy_cpus: str
    load_cpus: str


class Subject:
    """A running evenkeel; `config` is all of its file but the port, the threads and the log."""

    def __init__(self, tools, folder, port, config, threads=1, log=True):
        self.tools, self.folder, self.port = tools, Path(folder), port
        self.threads, self.log = threads, log
        self.folder.mkdir()
        self.file = self.folder / "evenkeel.yaml"
        self.write(config)
        begun = time.monotonic()
        output = open(self.folder / "output.log", "wb")
        self.process = Process([str(tools.evenkeel), "run", "-c", str(self.file)], tools.proxy_cpus, log=output)
        # It says nothing before it is ready, and it is not ready before all endpoints have been probed.
        self.await_ready()
        self.seconds_to_start = time.monotonic() - begun

    def write(self, config):
        output = self.folder / "access.log" if self.log else "off"
        self.file.write_text(
            f"server: {{ threads: {self.threads}, state: off }}\n"
            f"admin: {{ listen: 'unix:{self.folder}/admin.sock' }}\n"
            f"access_log: {{ output: '{output}', format: json }}\n"
            f"listeners: [{{ name: bench, address: '127.0.0.1:{self.port}' }}]\n{config}"
        )

    def await_ready(self):
        end = time.monotonic() + 60
        while time.monotonic() < end and not self.process.has_ended():
            try:
                if self.ask("GET", "/readyz")[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.02)
        self.process.stop()
        raise Wrong(f"it does not serve: {(self.folder / 'output.log').read_text()[-500:]}")

    def ask(self, method, path):
        """A question to the admin address: status and text of the answer."""
        client = OverUnix(str(self.folder / "admin.sock"))
        try:
            client.request(method, path)
            answer = client.getresponse()
            return answer.status, answer.read().decode()
        finally:
            client.close()

    def reload(self, config):
        """Puts another config in force; how many seconds that takes."""
        self.write(config)
        begun = time.monotonic()
        status, text = self.ask("POST", "/reload")
        if status != 200:
            raise Wrong(f"the reload is refused: {text[:500]}")
        return time.monotonic() - begun

    def stop(self):
        self.process.stop()


class OverUnix(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def load_command(tools, address, targets, connections, *rest):
    command = [str(tools.load), "--address", address, "--targets", str(targets), "--connections", str(connections), *map(str, rest)]
    return ["taskset", "-c", tools.load_cpus, *command] if tools.load_cpus else command


def load(tools, address, targets, connections, *rest):
    """One load to its end, and what it says; every answer was right, or this raises."""
    done = subprocess.run(load_command(tools, address, targets, connections, *rest), capture_output=True, text=True, timeout=120)
    return outcome(done.returncode, done.stdout, done.stderr)


def outcome(code, output, errors):
    if code != 0:
        raise Wrong(f"the load failed: {errors[-500:]}")
    return json.loads(output)


def cost(process, run):
    """What `run` costs the process by request, in microseconds of processor time, and what its load says."""
    before = process.cpu_us()
    told = run()
    return (process.cpu_us() - before) / told["requests"], told
