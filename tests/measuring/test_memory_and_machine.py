"""Peak memory against known allocations, and the description of the machine."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest
import torch

from vlbench.measuring.machine import describe_machine, physical_cores, usable_cores

MIB = 2**20


def in_fresh_process(body: str) -> int:
    """Peak bytes that a snippet leads to, run in a process of its own."""
    script = f"import torch\nfrom vlbench.measuring.memory import PeakMemory\n{body}\nprint(peak.read_bytes())"
    return int(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout)


@pytest.mark.slow
def test_a_short_allocation_is_not_missed() -> None:
    body = "peak = PeakMemory(torch.device('cpu'))\nx = torch.ones(200 * 2**18)\ndel x"
    assert in_fresh_process(body) == pytest.approx(200 * MIB, rel=0.02)


def test_a_forked_process_counts_its_own_alone() -> None:
    """As a worker's processes are: its parent has used and freed more before."""
    body = "import os\ntorch.set_num_threads(1)\nx = torch.ones(300 * 2**18)\ndel x\n"
    body += "if os.fork():\n    os.wait(); os._exit(0)\n"
    body += "peak = PeakMemory(torch.device('cpu'))\ny = torch.ones(200 * 2**18)\ndel y"
    assert in_fresh_process(body) == pytest.approx(200 * MIB, rel=0.02)


@pytest.mark.slow
def test_what_was_freed_before_is_forgotten_and_what_is_held_is_not() -> None:
    body = "peak = PeakMemory(torch.device('cpu'))\nheld = torch.ones(50 * 2**18)\nx = torch.ones(300 * 2**18)\n"
    body += "del x\npeak.forget()\ny = torch.ones(20 * 2**18)"
    assert in_fresh_process(body) == pytest.approx(70 * MIB, rel=0.05)


@pytest.mark.slow
def test_what_was_used_before_is_not_counted() -> None:
    body = "x = torch.ones(300 * 2**18)\ndel x\npeak = PeakMemory(torch.device('cpu'))\ny = torch.ones(50 * 2**18)"
    assert in_fresh_process(body) == pytest.approx(50 * MIB, rel=0.05)


@pytest.mark.gpu
def test_on_a_gpu_the_allocator_is_asked() -> None:
    body = "peak = PeakMemory(torch.device('cuda'))\nx = torch.ones(200 * 2**18, device='cuda')\ndel x"
    assert in_fresh_process(body) == pytest.approx(200 * MIB, rel=0.02)


def test_the_machine_in_words_names_what_decides_a_latency() -> None:
    machine = describe_machine(threads=1, gpu=None)
    assert machine.ram_bytes == psutil.virtual_memory().total
    assert 1 <= physical_cores() <= usable_cores() == machine.logical_cores
    assert torch.__version__.startswith(machine.torch)
    words = machine.in_words()
    assert machine.cpu in words
    assert f"torch {machine.torch}" in words
    assert ", 1 thread," in words


def test_threads_do_not_make_another_machine_but_software_does() -> None:
    machine = describe_machine(threads=1, gpu=None)
    assert machine.same_hardware_and_software(machine.model_copy(update={"threads": 2}))
    assert not machine.same_hardware_and_software(machine.model_copy(update={"torch": "0.0"}))
    assert not machine.same_hardware_and_software(machine.model_copy(update={"gpu": "another"}))
