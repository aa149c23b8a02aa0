# SPDX-License-Identifier: GPL-2.0
"""Paths, messages and processes: what the other parts share."""

import contextlib
import fcntl
import importlib.machinery
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

from .settings import CACHE, QUIET, Failure, environment

TOP = Path(__file__).resolve().parent.parent
OUT = TOP / "out"


_thread = threading.local()


@contextlib.contextmanager
def kept():
    """Keeps what this thread tells the user, in the list that it gives: others are at work meanwhile."""
    _thread.kept = []
    try:
        yield _thread.kept
    finally:
        _thread.kept = None


def is_kept():
    return getattr(_thread, "kept", None) is not None


def say(text=""):
    """Tell the user something. Standard output belongs to results."""
    if is_kept():
        _thread.kept.append(text)
    elif not QUIET:
        print(text, file=sys.stderr, flush=True)


def tell(text=""):
    """The same, on standard output."""
    if is_kept():
        _thread.kept.append(text)
    else:
        print(text, flush=True)


_processes = weakref.WeakSet()
# The one who is interrupted may hold it.
_processes_lock = threading.RLock()
_interrupted = threading.Event()


def start_program(args, **options):
    """Starts a program that may run for long, and that interrupt() ends."""
    with _processes_lock:
        if _interrupted.is_set():
            raise Failure("Interrupted.")
        process = subprocess.Popen(args, **options)
        _processes.add(process)
    return process


def interrupt():
    """Ends all programs that were started, and lets nobody start more."""
    with _processes_lock:
        _interrupted.set()
        processes = list(_processes)
    for process in processes:
        # make and timeout pass this on.
        process.terminate()
    deadline = time.monotonic() + 5
    for process in processes:
        try:
            process.wait(max(0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def log_file(name):
    """A new, empty log file, of which the user is told when it matters."""
    path = OUT / "log" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


def tail(path, lines=20):
    """The last lines of a file, as text."""
    text = path.read_bytes().decode(errors="replace").replace("\r", "")
    return "\n".join(text.splitlines()[-lines:])


def first_error(path, lines=12):
    """What a compiler said first, or None: several run at once, so that it need not be at the end."""
    text = path.read_bytes().decode(errors="replace").splitlines()
    for number, line in enumerate(text):
        if re.search(r"^error|\berror:", line):
            return "\n".join(text[number : number + lines])
    return None


# What programs say if the machine is at fault, and not what they were to do.
CAUSES = (
    (r"No space left on device|Disk quota exceeded", "no space is left on the disk"),
    (r"Could not resolve|Temporary failure (?:in name resolution|resolving)|Network is unreachable", "no network"),
    (r"(?i)(?:could not|failed to|unable to) connect|connection (?:refused|timed out)", "no server can be reached"),
    (r"Could not get lock", "another program is installing packages; try again when that has ended"),
    (r"unshare failed: Operation not permitted", "this container may not mount anything, for want of CAP_SYS_ADMIN"),
)


def cause(log):
    """Why a program failed that has written this log, in a few words, if that is the machine's fault; or None."""
    text = tail(log, 40)
    for pattern, words in CAUSES:
        if re.search(pattern, text):
            proxies = [name for name in ("http_proxy", "https_proxy") if os.environ.get(name)]
            return f"{words} (is the proxy up that {proxies[0]} names?)" if proxies and "server" in words else words
    return None


def need_space(gigabytes, what):
    """Fails if the cache has less room than that, before anything is fetched."""
    CACHE.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(CACHE).free
    if free < gigabytes << 30:
        raise Failure(
            f"{what} takes {gigabytes} GB in {CACHE}, where {free >> 20} MB are free. "
            "Make room, or name another folder by XDG_CACHE_HOME=."
        )


def run(args, *, log, what, progress=False, check=True, env=None, cwd=None):
    """Runs a command with its output in a log file; fails with the end of it.

    env is added to our own environment. With progress, counts the lines that the command prints, since a kernel build
    prints one a step.
    """
    done, shown = 0, time.monotonic()
    with open(log, "ab") as out:
        out.write(f"$ {' '.join(map(str, args))}\n".encode())
        out.flush()
        try:
            process = start_program(
                args,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=environment(env),
                cwd=cwd,
            )
        except FileNotFoundError as error:
            raise Failure(f"{what}: {args[0]} is not installed") from error
        try:
            for line in process.stdout:
                out.write(line)
                done += 1
                if progress:
                    shown = show_progress(what, done, shown)
        except BaseException:
            # Whoever cleans up after this must find that nobody is at work.
            process.kill()
            process.wait()
            raise
    if progress:
        end_progress(what, done)
    if process.wait() and check:
        if reason := cause(log):
            raise Failure(f"{what} failed: {reason}. The whole log: {log}")
        raise Failure(f"{what} failed:\n\n{first_error(log) or tail(log)}\n\nThe whole log: {log}")
    return process.returncode


def show_progress(what, done, shown):
    """A line that counts: ten times a second on a terminal, twice a minute elsewhere."""
    now = time.monotonic()
    if QUIET or is_kept() or now - shown < (0.1 if sys.stderr.isatty() else 30):
        return shown
    end = "" if sys.stderr.isatty() else "\n"
    print(f"\r  {what}: {done} steps" if not end else f"  {what}: {done} steps", end=end, file=sys.stderr, flush=True)
    return now


def end_progress(what, done):
    if sys.stderr.isatty() and not QUIET and not is_kept():
        print(f"\r  {what}: {done} steps, done", file=sys.stderr, flush=True)


def output_of(args, *, check=True, env=None, cwd=None):
    """What a command prints, or None if it does not exist, or fails (unless that is not to be checked)."""
    try:
        result = subprocess.run(args, capture_output=True, text=True, check=check, env=environment(env), cwd=cwd)
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout


def imported(path):
    """A Python program without a suffix, as a module."""
    loader = importlib.machinery.SourceFileLoader(path.name, str(path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


def write_if_changed(path, data, mode=0o644):
    """Writes a file unless it holds this already, so that nothing is built again for nothing.

    Replaces the file and never changes it, since it may be a hard link.
    """
    path = Path(path)
    if path.is_file() and not path.is_symlink() and path.read_bytes() == data:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    new.write_bytes(data)
    new.chmod(mode)
    new.replace(path)
    return True


def write_json(path, data):
    path.write_text(json.dumps(data, indent=1) + "\n")


_locks = {}
_held = set()


@contextlib.contextmanager
def locked(name):
    """Keeps others from making this part of the cache, for as long as it is made here. Decorates functions, too.

    The thread that holds it may take it again.
    """
    with _locks.setdefault(name, threading.RLock()):
        if name in _held:
            yield
            return
        with locked_file(name):
            _held.add(name)
            try:
                yield
            finally:
                _held.remove(name)


@contextlib.contextmanager
def locked_file(name):
    """Keeps other processes out."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / f"{name}.lock", "w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"Waiting for another make that works on the {name} in {CACHE}.")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def jobs():
    return str(len(os.sched_getaffinity(0)))
