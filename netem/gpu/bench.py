"""What the measuring scripts share: a server, links, programs run locally and through RRTO, failures that are noted, and
a budget of time.

Programs under RRTO run in a mount namespace in which the GPU's device files are covered, so they cannot have used them."""

import contextlib
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent

# More than any program here takes; a program that hangs shall not take the others' time with it.
PROGRAM_LIMIT_S = 150

# A server or link says that it is ready within this, or never.
READY_LIMIT_S = 30

# A program that has said all ends within this, or is ended.
END_LIMIT_S = 10

# With less left of the budget no program is started: importing PyTorch alone takes some seconds.
WORTH_STARTING_S = 8

# Covers every GPU device file with an empty one, then becomes the program.
HIDE_GPU = 'for f in $(find /dev -path "/dev/nvidia*" ! -type d) $(find /dev/dri -type c 2>/dev/null); do mount --bind /dev/null "$f"; done; exec "$@"'


# A robot and a server have their own processors: here each has half of them.
CPUS = sorted(os.sched_getaffinity(0))
PROGRAM_CPUS, SERVER_CPUS = CPUS[: (len(CPUS) + 1) // 2], CPUS[len(CPUS) // 2 :]


@contextlib.contextmanager
def on(cpus):
    """What this thread starts in the block runs on these processors, and so does all that it starts."""
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, CPUS)


class OutOfTime(Exception):
    """The budget is spent; what was to be done is skipped."""


class Bench:
    """Runs programs, with and without RRTO, from the built binaries in `binaries`."""

    def __init__(self, binaries, scratch, log, budget_s=None, device="cuda"):
        self.binaries, self.scratch, self.log, self.device = binaries, scratch, log, device
        self.deadline = None if budget_s is None else time.monotonic() + budget_s
        self.lock = threading.Lock()
        self.certs = scratch / "certs"
        self.run([binaries / "rrto", "certs", self.certs, "--robot", "robot"])

    def left_s(self):
        """Time left for a program."""
        return PROGRAM_LIMIT_S if self.deadline is None else min(PROGRAM_LIMIT_S, self.deadline - time.monotonic())

    def run(self, command, env=None, limit_s=PROGRAM_LIMIT_S):
        """Runs a program to its end and gives what it wrote to standard output."""
        limit_s = min(limit_s, self.left_s())
        if limit_s < WORTH_STARTING_S and self.deadline is not None:
            raise OutOfTime("no time left")
        command = [str(c) for c in command]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, "text": True}
        # A group of its own: what is ended at the limit is all that it started.
        with on(PROGRAM_CPUS):
            child = subprocess.Popen(command, env={**os.environ, **(env or {})}, start_new_session=True, **pipes)
        try:
            stdout, stderr = child.communicate(timeout=limit_s)
            how = f"exit {child.returncode}"
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            stdout, stderr = child.communicate()
            how = f"no end within {limit_s:.0f} s"
        with self.lock:
            self.log.write(f"$ {' '.join(command)}\n{stderr[-6000:]}\n")
            self.log.flush()
        if child.returncode != 0:
            raise RuntimeError(f"{command[-4:]}: {how}\n{stdout[-1000:]}\n{stderr[-3000:]}")
        return stdout

    @contextlib.contextmanager
    def process(self, command, ready):
        """Runs a server until the block ends; `ready` turns its first line into the block's value."""
        command = [str(c) for c in command]
        with on(SERVER_CPUS):
            child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True)
        # Ends a server that says nothing, so that reading its first line ends too.
        watch = threading.Timer(READY_LIMIT_S, child.kill)
        watch.start()
        try:
            line = child.stdout.readline()
            watch.cancel()
            if not line:
                raise RuntimeError(f"{command} ended with {child.wait()} before it was ready")
            yield ready(line)
        finally:
            watch.cancel()
            child.terminate()
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()

    def server(self, *options):
        command = [self.binaries / "rrto-gpud", "--device", "cuda", "--listen", "127.0.0.1:0", "--certs", self.certs]
        command += options
        return self.process(command, lambda line: line.split(" listening on ")[1].split()[0])

    def link(self, address, **settings):
        command = [self.binaries / "rrto-netem", "link", "--listen", "127.0.0.1:0", "--to", address]
        for name, value in settings.items():
            command += [f"--{name.replace('_', '-')}", value]
        return self.process(command, lambda line: json.loads(line)["listen"])

    def remote_command(self, address, mode, program):
        """What runs a program through RRTO, with the GPU's device files covered."""
        command = ["unshare", "-m", "sh", "-c", HIDE_GPU, "hide-gpu", self.binaries / "rrto", "run"]
        command += ["--server", address, "--certs", self.certs, "--robot", "robot", "--mode", mode, "--", *program]
        return command

    def remote(self, address, mode, program, env=None, limit_s=PROGRAM_LIMIT_S):
        """Runs a program through RRTO to its end and gives what it wrote to standard output."""
        return self.run(self.remote_command(address, mode, program), env, limit_s)

    def model_command(self, address, mode, name, *options):
        """What runs model.py: locally where there is no address, else in `mode` of RRTO."""
        program = [sys.executable, HERE / "model.py", name, "--device", self.device, *options]
        return program if address is None else self.remote_command(address, mode, program)

    def model(self, address, mode, name, runs, warmup=3, env=None):
        """Runs model.py to its end. Gives what it reports."""
        command = self.model_command(address, mode, name, "--runs", runs, "--warmup", warmup)
        return last_json(self.run(command, env))


class Player:
    """A model.py that takes turns with others: all are ready at a time, and one is timed."""

    def __init__(self, bench, address, mode, name, warmup, env=None):
        self.bench, self.name = bench, f"{name} {mode or 'local'}"
        command = bench.model_command(address, mode, name, "--turns", "--warmup", warmup)
        self.errors = tempfile.TemporaryFile("w+")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self.errors, "text": True}
        command, environment = [str(c) for c in command], {**os.environ, **(env or {})}
        with on(PROGRAM_CPUS):
            self.child = subprocess.Popen(command, env=environment, start_new_session=True, **pipes)

    def ready(self):
        self.answer()
        return self

    def run(self, count):
        return self.ask(f"run {count}")

    def graph_ms(self, count):
        return self.ask(f"graph {count}")["graph_ms"]

    def end(self):
        """Lets it end by itself, and gives its report."""
        self.child.stdin.close()
        return self.answer()

    def ask(self, line):
        self.child.stdin.write(line + "\n")
        self.child.stdin.flush()
        return self.answer()

    def answer(self):
        limit_s = self.bench.left_s()
        if limit_s <= 0:
            raise OutOfTime("no time left")
        watch = threading.Timer(limit_s, self.kill)
        watch.start()
        try:
            line = self.child.stdout.readline()
        finally:
            watch.cancel()
        if not line:
            code = self.child.wait()
            self.errors.seek(0)
            raise RuntimeError(f"{self.name} ended with {code} before it answered\n{self.errors.read()[-3000:]}")
        return json.loads(line)

    def kill(self):
        # Once it has been waited for, its number may be another's.
        if self.child.poll() is None:
            os.killpg(self.child.pid, signal.SIGKILL)

    def close(self):
        """Ends it, whatever it is doing; one that has reported gets the time to end by itself."""
        try:
            self.child.wait(END_LIMIT_S if self.child.stdin.closed else 0)
        except subprocess.TimeoutExpired:
            self.kill()
            self.child.wait()
        self.errors.seek(0)
        with self.bench.lock:
            self.bench.log.write(f"# {self.name}: exit {self.child.returncode}\n{self.errors.read()[-6000:]}\n")
            self.bench.log.flush()
        self.errors.close()


def last_json(text):
    return json.loads(text.strip().splitlines()[-1])


@contextlib.contextmanager
def section(results, name):
    """A failure of one part is noted and does not stop the others."""
    start = time.monotonic()
    try:
        yield
    except OutOfTime:
        results.setdefault("skipped", []).append(name)
        print(f"skipped {name}: no time left", flush=True)
    except Exception as error:  # noqa: BLE001: whatever it is, it belongs into the report
        results["failures"][name] = "".join(traceback.format_exception_only(error))[-4000:]
        print(f"FAILED {name}: {results['failures'][name]}", flush=True)
    else:
        print(f"# {name}: {time.monotonic() - start:.1f} s", flush=True)


def machine():
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        gpu = subprocess.run(query, capture_output=True, text=True).stdout.strip()
    except OSError:
        gpu = "no GPU"
    return {
        "gpu": gpu,
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        # Not imported: a child's peak memory starts with its parent's.
        "torch": importlib.metadata.version("torch"),
        "date": datetime.date.today().isoformat(),
    }
