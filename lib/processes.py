"""What processes ask of each other: to stop softly, to end with the one that started them, sockets for a kernel."""
import contextlib
import os
import shutil
import signal
import tempfile
import threading
import time
from pathlib import Path

STOPS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
LONGEST_SOCKET = 80         # letters of a folder for sockets: the system takes 107 with the file's name


@contextlib.contextmanager
def on_stop(handler):
    """While inside, Ctrl-C, SIGTERM and a closed terminal call `handler()` instead of ending the process.

    A signal that was ignored before stays ignored (nohup). Signals reach the main thread only; in another one nothing
    changes.
    """
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in STOPS:
            if signal.getsignal(number) != signal.SIG_IGN:
                before[number] = signal.signal(number, lambda *_: handler()) or signal.SIG_DFL
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


@contextlib.contextmanager
def stop_asked():
    """While inside, a signal to stop only sets the yielded event, so that a loop can end between two steps."""
    asked = threading.Event()
    with on_stop(asked.set):
        yield asked


def end_with(parent):
    """End this process and its group when its parent, the process number `parent`, is gone (killed, say)."""
    def watch():
        while os.getppid() == parent:
            time.sleep(1)
        os.killpg(os.getpgrp(), signal.SIGKILL)

    if os.name != "nt":
        threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def kernel_sockets():
    """Jupyter's settings for one kernel whose sockets are files: over TCP two that start at once can take one port
    (papermill #511). Windows has TCP only. What killed processes left is removed."""
    import psutil
    from traitlets.config import Config
    base = Path(tempfile.gettempdir())
    if os.name != "nt" and len(str(base)) > LONGEST_SOCKET:
        base = Path("/tmp")
    for old in base.glob("nb-*-*"):
        number = old.name.split("-")[1]
        with contextlib.suppress(OSError):
            if number.isdigit() and old.stat().st_uid == os.getuid() and not psutil.pid_exists(int(number)):
                shutil.rmtree(old, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"nb-{os.getpid()}-", dir=base, ignore_cleanup_errors=True) as folder:
        manager = {"connection_file": os.path.join(folder, "kernel.json")}
        if os.name != "nt":
            manager |= {"transport": "ipc", "ip": os.path.join(folder, "k")}
        yield Config({"KernelManager": manager})
