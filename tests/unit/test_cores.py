"""How many threads a process may use, from files as the kernel writes them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bertwright import cores
from bertwright.cores import default_threads, describe_threads, usable_cores


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Sixteen cores without any limit."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)
    monkeypatch.setattr(cores, "ROOT", tmp_path)
    return tmp_path


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


V2 = "sys/fs/cgroup"
V1 = "sys/fs/cgroup/cpu,cpuacct"
GROUPS_V1 = "12:cpuset:/\n4:cpu,cpuacct:/docker/ab\n1:name=systemd:/docker/ab\n0::/system.slice\n"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param({}, 16, id="no control groups"),
        pytest.param({"proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "max 100000\n"}, 16, id="v2 without a limit"),
        pytest.param({"proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "300000 100000\n"}, 3, id="v2 in a container"),
        pytest.param({"proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "150000 100000\n"}, 2, id="part of a core"),
        pytest.param({"proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "5000 100000\n"}, 1, id="less than a core"),
        pytest.param({"proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "9900000 100000\n"}, 16, id="more than all"),
        pytest.param(
            {
                "proc/self/cgroup": "0::/slice/job\n",
                f"{V2}/slice/job/cpu.max": "max 100000",
                f"{V2}/slice/cpu.max": "40000 10000",
            },
            4,
            id="the limit of a group above",
        ),
        pytest.param(
            {"proc/self/cgroup": GROUPS_V1, f"{V1}/cpu.cfs_quota_us": "200000", f"{V1}/cpu.cfs_period_us": "100000"},
            2,
            id="v1, the container's group is the mount",
        ),
        pytest.param(
            {
                "proc/self/cgroup": GROUPS_V1,
                "sys/fs/cgroup/cpu/docker/ab/cpu.cfs_quota_us": "500000",
                "sys/fs/cgroup/cpu/docker/ab/cpu.cfs_period_us": "100000",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            },
            5,
            id="v1, a group below the mount",
        ),
        pytest.param(
            {"proc/self/cgroup": GROUPS_V1, f"{V1}/cpu.cfs_quota_us": "-1", f"{V1}/cpu.cfs_period_us": "100000"},
            16,
            id="v1 without a limit",
        ),
        pytest.param({"proc/self/cgroup": "no such line\n::\n\x00"}, 16, id="not understood"),
        pytest.param({"proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "0 0"}, 16, id="zero"),
        pytest.param({"proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": ""}, 16, id="an empty limit"),
    ],
)
def test_the_cpu_limit_of_a_container(machine: Path, files: dict[str, str], expected: int) -> None:
    write(machine, files)
    assert usable_cores() == expected
    threads, reason = default_threads()
    assert threads == expected
    assert bool(reason) == (expected < 16)
    assert not reason or reason.startswith("container CPU limit of ")


def test_the_smaller_of_affinity_and_limit_counts(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 4, 9})
    assert default_threads() == (3, "CPU affinity")
    write(machine, {"proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "400000 100000"})
    assert default_threads() == (3, "CPU affinity")
    write(machine, {f"{V2}/cpu.max": "250000 100000"})
    assert default_threads() == (3, "container CPU limit of 2.5")
    write(machine, {f"{V2}/cpu.max": "200000 100000"})
    assert default_threads() == (2, "container CPU limit of 2")


@pytest.mark.parametrize(
    ("value", "expected"),
    [("3", 3), (" 5 ", 5), ("4,2", 4), ("32", 32), ("", 16), ("0", 16), ("-2", 16), ("many", 16), ("²", 16)],
)
def test_omp_num_threads_decides(monkeypatch: pytest.MonkeyPatch, value: str, expected: int) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert default_threads() == (expected, "" if expected == 16 else "OMP_NUM_THREADS")


def test_threads_are_described() -> None:
    assert describe_threads(1) == "1 thread"
    assert describe_threads(3, "CPU affinity") == "3 threads (CPU affinity)"


CODE = """
import os
from bertwright.tokenization.threads import pool
from bertwright.corpus.tokenizer_training import train_tokenizer
from bertwright.corpus.documents import open_corpus
before = len(os.listdir("/proc/self/task"))
{limit}
train_tokenizer([open_corpus(["a b c d", "d c b a"])], vocab_size=30).tokenize(["a", "b"], 0)
print(len(os.listdir("/proc/self/task")) - before, os.environ.get("RAYON_NUM_THREADS"))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
@pytest.mark.parametrize(
    ("limit", "variables", "expected"),
    [
        ("", {"OMP_NUM_THREADS": "3"}, "3 None"),
        ("pool.threads = 5", {"OMP_NUM_THREADS": "3"}, "5 None"),
        ("pool.threads = 5", {"RAYON_NUM_THREADS": "4"}, "4 4"),
    ],
)
def test_threads_of_the_tokenizers_library(limit: str, variables: dict[str, str], expected: str) -> None:
    code = CODE.format(limit=limit)
    env = {name: value for name, value in os.environ.items() if name not in ("RAYON_NUM_THREADS", "OMP_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=env | {"TOKENIZERS_PARALLELISM": "true"} | variables,
    )
    assert (done.stdout.strip(), done.returncode) == (expected, 0), done.stderr
