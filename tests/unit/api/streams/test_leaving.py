"""The server of a process that somebody ends at his keyboard."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from http import HTTPStatus
from http.client import HTTPConnection

from tests.support.ports import free_port

SERVER = """
import sys
from types import SimpleNamespace
from fastapi import FastAPI
from api.streams.leaving import serve

app = FastAPI()
app.state.services = SimpleNamespace(under_way=SimpleNamespace(leaving=False))
serve(app, "127.0.0.1", int(sys.argv[1]))
print(app.state.services.under_way.leaving)
"""


def answers(port: int) -> bool:
    """Return whether there is one that answers."""
    asks = HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        asks.request("GET", "/")
        return asks.getresponse().status == HTTPStatus.NOT_FOUND
    except ConnectionRefusedError:
        return False
    finally:
        asks.close()


def test_who_ends_it_at_his_keyboard_sees_no_traceback() -> None:
    port = free_port()
    argv = [sys.executable, "-c", SERVER, str(port)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        while not answers(port):
            assert child.poll() is None
            time.sleep(0.05)
        os.kill(child.pid, signal.SIGINT)
        told, complaints = child.communicate(timeout=60)
    assert (child.returncode, told, complaints) == (0, "True\n", "")
