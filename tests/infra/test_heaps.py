"""Threads share the C library's heaps: counted in a process of its own."""

import os
import platform
import subprocess
import sys

import pytest

COUNT = """
import ctypes, sys, threading
from endpoint_analytics.infra.heaps import limit_heaps
if sys.argv[1] == "limited":
    assert limit_heaps()
barrier = threading.Barrier(8)
def allocate():
    barrier.wait()
    kept = [bytearray(50_000) for _ in range(20)]
    barrier.wait()
threads = [threading.Thread(target=allocate) for _ in range(8)]
for each in threads: each.start()
for each in threads: each.join()
ctypes.CDLL(None).malloc_stats()
"""


def heaps(mode, **environment):
    kept = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"}
    words = [sys.executable, "-c", COUNT, mode]
    done = subprocess.run(words, env=kept | environment, check=True, capture_output=True, text=True)
    return done.stderr.count("Arena ")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives threads heaps of their own")
def test_threads_share_two_heaps():
    assert heaps("unlimited") > 2
    assert heaps("limited") == 2
    assert heaps("limited", MALLOC_ARENA_MAX="4") == 4
