"""Servers in processes of their own: serve.py, and llama.cpp's two."""

import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import psutil

from runtime.errors import InputError


class Server:
    """
    serve.py on a free port: a context manager, with the address in `url`. slots: replies that it generates at once;
    queue: requests that may wait. Raises InputError with what it says if it does not start.
    """

    label = "serve.py"

    def __init__(
        self,
        folder: str,
        slots: int,
        weights: str = "int8",
        threads: int | None = None,
        queue: int = 64,
        device: str = "cpu",
    ) -> None:
        script = Path(__file__).parents[1] / "serve.py"
        flags = [f"--out_dir={folder}", "--port=0", f"--slots={slots}", f"--weights={weights}", f"--queue={queue}"]
        flags += [f"--threads={threads}"] if threads else []
        flags += [f"--device={device}"]
        self.process = subprocess.Popen(
            [sys.executable, str(script), *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
        assert self.process.stdout
        line = self.process.stdout.readline()
        address = re.search(r"on (http://\S+);", line)
        if not address:
            raise InputError(f"serve.py: {line.strip().removeprefix('error: ')}")
        self.url = address[1]
        threading.Thread(target=self.drain, daemon=True).start()  # else a full pipe would stop it

    def drain(self) -> None:
        """Read all that the server prints, until it ends."""
        assert self.process.stdout
        with self.process.stdout as output:
            output.read()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *error: object) -> None:
        self.process.terminate()
        self.process.wait()

    @property
    def megabytes(self) -> float:
        """MB of its memory that is resident."""
        return psutil.Process(self.process.pid).memory_info().rss / 1e6


class LlamaServer(Server):
    """
    llama.cpp's server of a GGUF file, on a free port. tokens: of context for each sequence. slots: of `llama-server`,
    where that is installed; None: llama-cpp-python's, which makes one reply at a time.
    """

    def __init__(self, gguf: str | Path, threads: int, tokens: int, slots: int | None = None) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        if slots:
            command = ["llama-server", "-m", gguf, "-np", slots, "-c", slots * tokens, "-t", threads, "--port", port]
            self.label = f"llama-server, {slots} slots"
        else:
            command = [sys.executable, "-m", "llama_cpp.server", "--model", gguf, "--n_ctx", tokens, "--port", port]
            command += ["--n_threads", threads, "--n_threads_batch", threads, "--interrupt_requests", "false"]
            self.label = "llama_cpp.server, one reply at a time"
        words = list(map(str, command))
        self.process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.url = f"http://127.0.0.1:{port}"
        while not is_ready(f"{self.url}/v1/models"):
            if self.process.poll() is not None:
                raise InputError(f"{self.label} ended: {' '.join(words)}")
            time.sleep(0.2)


def is_ready(url: str) -> bool:
    """Whether a server answers there."""
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False
