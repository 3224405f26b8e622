"""Stacked devices count once: with sysfs trees as on real machines, and with real devices."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.agents.hardware.test_network_and_disk import Counters
from tests.agents.hardware.trees.tree import plant

from endpoint_analytics.agents.hardware.disk import DiskCollector, parse_io_stat, read_machine_bytes
from endpoint_analytics.agents.hardware.network import NetworkCollector, add_up
from endpoint_analytics.agents.hardware.stacked_devices import (
    Disk,
    Interface,
    add_up_once,
    counted_interfaces,
    read_disks,
    read_interfaces,
)

CASE = (Path(__file__).parents[2] / "cases/io.stat-lvm-on-md").read_text()
PROC_DEVICES = (
    "Character devices:\n  1 mem\n\nBlock devices:\n  7 loop\n  9 md\n253 device-mapper\n259 blkext\n"
)


class Network:
    """A /sys/class/net that is laid out as the kernel does."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "net"
        self.names: list[str] = []

    def add(
        self, name: str, *lower: str, card: bool = False, bridge: bool = False, bond: bool = False
    ) -> None:
        self.names.append(name)
        place = self.root / name
        place.mkdir(parents=True)
        if card:
            (place / "device").symlink_to("../../../0000:00:03.0")
        if bridge:
            (place / "bridge").mkdir()
        if bond:
            (place / "bonding").mkdir()
            (place / "bonding/slaves").write_text(" ".join(lower) + "\n")
        for each in lower:
            (place / f"lower_{each}").symlink_to(f"../{each}")
            if bridge or bond:
                (self.root / each / "master").symlink_to(f"../{name}")
            if bridge:
                (self.root / each / "brport").mkdir()

    def counted(self) -> set[str]:
        return set(counted_interfaces(read_interfaces(self.names, self.root)))


@pytest.fixture
def network(tmp_path):
    network = Network(tmp_path)
    network.add("lo")
    return network


def test_a_bond_of_two(network):
    network.add("eth0", card=True)
    network.add("eth1", card=True)
    network.add("bond1", "eth0", "eth1", bond=True)
    interfaces = {
        "lo": Counters(7, 7),
        "eth0": Counters(600, 1_500),
        "eth1": Counters(400, 500),
        "bond1": Counters(1_000, 2_000),
    }
    assert add_up(interfaces, network.counted()) == (1_000, 2_000)


@pytest.mark.parametrize("shown_by", ["lower", "slaves", "master"])
def test_a_bond_is_known_by_each_of_its_signs(network, shown_by):
    """Also without cards, as in a virtual machine whose interfaces show none."""
    network.add("eth0")
    network.add("eth1")
    network.add("bond1", "eth0", "eth1", bond=True)
    bond = network.root / "bond1"
    if shown_by != "lower":
        (bond / "lower_eth0").unlink()
        (bond / "lower_eth1").unlink()
    if shown_by != "slaves":
        (bond / "bonding/slaves").unlink()
    if shown_by != "master":
        (network.root / "eth0/master").unlink()
        (network.root / "eth1/master").unlink()
    assert network.counted() == {"eth0", "eth1"}


def test_a_vlan_over_a_bond_under_a_bridge(network):
    network.add("eth0", card=True)
    network.add("eth1", card=True)
    network.add("bond0", "eth0", "eth1", bond=True)
    network.add("bond0.7", "bond0")
    network.add("vnet0")
    network.add("br0", "bond0.7", "vnet0", bridge=True)
    assert network.counted() == {"eth0", "eth1"}


def test_a_host_of_containers(network):
    """Container traffic passes the card."""
    network.add("ens3", card=True)
    network.add("vethab12")
    network.add("docker0", "vethab12", bridge=True)
    network.add("cali42")  # routed, in no bridge
    network.add("wg0")
    assert network.counted() == {"ens3"}


def test_a_container_with_containers_of_its_own(network):
    network.add("eth0")
    network.add("vethab12")
    network.add("docker0", "vethab12", bridge=True)
    assert network.counted() == {"eth0"}


def test_a_container_whose_interface_lies_on_one_of_its_host(network):
    network.add("eth0", "enp1s0")  # macvlan: the lower one is not in this namespace
    network.add("net1")
    assert network.counted() == {"eth0", "net1"}


def test_a_card_that_is_made_of_others_counts_for_them(network):
    """Like a cloud's accelerated networking: the synthetic card counts the traffic of both."""
    network.add("enP1s1", card=True)
    network.add("eth0", "enP1s1", card=True)
    assert network.counted() == {"eth0"}


def test_interfaces_that_sysfs_does_not_show(tmp_path):
    found = read_interfaces(["lo", "eth0", "en1"], tmp_path)
    assert counted_interfaces(found) == {"eth0", "en1"}


@given(
    st.dictionaries(
        st.sampled_from("abcdef"), st.tuples(st.sets(st.sampled_from("abcdef")), st.booleans(), st.booleans())
    )
)
def test_whatever_lies_on_whatever_it_ends(found):
    interfaces = {
        name: Interface(frozenset(lower & found.keys()), *rest) for name, (lower, *rest) in found.items()
    }
    assert counted_interfaces(interfaces) <= interfaces.keys()
    disks = {name: Disk(each.lower) for name, each in interfaces.items()}
    moved = dict.fromkeys(disks, 5)
    assert 0 <= add_up_once(moved, disks) <= 5 * len(moved)


def in_namespace(*commands: str, code: str) -> str:
    """Run Python in a network namespace of its own, with a /sys that shows it, after the commands."""
    script = "; ".join(
        ["set -e", "mount -t sysfs sysfs /sys", *commands, f'exec "{sys.executable}" -c "$CODE"']
    )
    found = subprocess.run(
        ["unshare", "--net", "--mount", "sh", "-c", script],
        env={**os.environ, "CODE": code, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if found.returncode:
        pytest.skip(f"the kernel or this user cannot make it: {found.stderr.strip()[-200:]}")
    return found.stdout


TOLD = """
import json
from pathlib import Path
from endpoint_analytics.agents.hardware.stacked_devices import counted_interfaces, read_interfaces
names = [path.name for path in Path("/sys/class/net").iterdir()]
print(json.dumps(sorted(counted_interfaces(read_interfaces(names)))))
"""


@pytest.mark.skipif(
    shutil.which("unshare") is None or os.geteuid() != 0, reason="namespaces need unshare and root"
)
@pytest.mark.parametrize(
    ("commands", "expected"),
    [
        (
            ["ip link add e0 type dummy", "ip link add e1 type dummy", "ip link add bond9 type bond",
             "ip link set e0 master bond9", "ip link set e1 master bond9"],
            ["e0", "e1"],
        ),
        (["ip link add v0 type veth peer name v1", "ip link add link v0 name v0.7 type vlan id 7"],
         ["v0", "v1"]),
        (["ip link add v0 type veth peer name v1", "ip link add w0 type veth peer name w1",
          "ip link add br9 type bridge", "ip link set w0 master br9"], ["v0", "v1", "w1"]),
        (["ip link add v0 type veth peer name v1", "ip link add link v0 name m0 type macvlan"], ["v0", "v1"]),
        (["ip link add v0 type veth peer name v1"], ["v0", "v1"]),
    ],
    ids=["bond", "vlan", "bridge", "macvlan", "veth"],
)  # fmt: skip
def test_real_interfaces(commands, expected):
    reported = json.loads(in_namespace(*commands, code=TOLD))
    made = [
        name
        for name in reported
        if not name.startswith(("ifb", "bond0", "tunl", "sit", "ip6", "gre", "erspan"))
    ]
    assert made == expected


class Blocks:
    """A /sys/dev/block that is laid out as the kernel does."""

    def __init__(self, machine: Path) -> None:
        self.root = machine / "sys/dev/block"
        self.devices = machine / "sys/devices"
        self.root.mkdir(parents=True)

    def add(self, name: str, number: str, *lower: str, disk: str = "") -> None:
        place = self.devices / disk / name
        place.mkdir(parents=True)
        (place / "dev").write_text(f"{number}\n")
        if disk:
            (place / "partition").write_text("1\n")
        (self.root / number).symlink_to(place)
        if not disk:
            (place / "slaves").mkdir()
        for each in lower:
            (target,) = self.devices.rglob(each)
            (place / "slaves" / each).symlink_to(target)


def read_and_written(text: str, disks: dict[str, Disk]) -> tuple[int, int]:
    moved = parse_io_stat(text)
    return (
        add_up_once({number: each.read for number, each in moved.items()}, disks),
        add_up_once({number: each.written for number, each in moved.items()}, disks),
    )


def test_lvm_on_md(tmp_path):
    """The same where sysfs shows the stacking: md is made of a partition."""
    blocks = Blocks(tmp_path)
    blocks.add("nvme0n1", "259:0")
    blocks.add("nvme0n1p2", "259:2", disk="nvme0n1")
    blocks.add("md0", "9:0", "nvme0n1p2")
    blocks.add("dm-1", "253:1", "md0")
    disks = read_disks(parse_io_stat(CASE), blocks.root, tmp_path / "none")
    assert disks["9:0"].lower == {"259:0"}
    assert read_and_written(CASE, disks) == (1_000_000, 500_000)


def test_lvm_on_md_where_only_the_drivers_are_known(tmp_path):
    (tmp_path / "devices").write_text(PROC_DEVICES)
    disks = read_disks(parse_io_stat(CASE), tmp_path / "none", tmp_path / "devices")
    assert read_and_written(CASE, disks) == (1_000_000, 500_000)


def test_the_collector_reads_a_groups_stack_once(tmp_path):
    tree = plant("kubernetes_v2", tmp_path)
    blocks = Blocks(tmp_path)
    blocks.add("nvme0n1", "259:0")
    blocks.add("md0", "9:0", "nvme0n1")
    blocks.add("dm-1", "253:1", "md0")
    tree.write("/sys/fs/cgroup/io.stat", "259:0 rbytes=0 wbytes=0\n")
    collector = DiskCollector(tree.own)
    collector.collect(0)
    tree.write("/sys/fs/cgroup/io.stat", CASE)
    assert collector.collect(1).replica == {"disk_read_bytes": 1_000_000, "disk_written_bytes": 500_000}


def test_a_disk_with_partitions_of_its_own_next_to_a_stack():
    disks = {"8:0": Disk(), "9:0": Disk(frozenset({"8:0"})), "8:16": Disk()}
    assert add_up_once({"8:0": 150, "9:0": 100, "8:16": 7}, disks) == 157


def test_a_parity_array_whose_thread_does_the_writing():
    disks = {"8:0": Disk(), "8:16": Disk(), "9:0": Disk(frozenset({"8:0", "8:16"})), "8:32": Disk()}
    assert add_up_once({"8:0": 0, "8:16": 0, "9:0": 100, "8:32": 5}, disks) == 105


def test_several_paths_to_one_disk(tmp_path):
    blocks = Blocks(tmp_path)
    blocks.add("sda", "8:0")
    blocks.add("sdb", "8:16")
    blocks.add("dm-0", "253:0", "sda", "sdb")
    blocks.add("nvme0n1", "259:0")
    blocks.add("nvme0c0n1", "259:1")
    (blocks.devices / "nvme0c0n1/hidden").write_text("1\n")
    moved = {"8:0": 60, "8:16": 40, "253:0": 100, "259:0": 30, "259:1": 30}
    assert add_up_once(moved, read_disks(moved, blocks.root, tmp_path / "none")) == 130


def test_memory_and_files_are_no_disks(tmp_path):
    blocks = Blocks(tmp_path)
    for name, number in (("vda", "254:0"), ("zram0", "253:0"), ("loop0", "7:0"), ("ram0", "1:0")):
        blocks.add(name, number)
    moved = {"254:0": 5, "253:0": 9, "7:0": 9, "1:0": 9}
    assert add_up_once(moved, read_disks(moved, blocks.root, tmp_path / "none")) == 5


@pytest.mark.skipif(not Path("/sys/class/block").exists(), reason="this system has no sysfs")
def test_the_machines_own_disks_are_whole_ones():
    moved = read_machine_bytes()
    if moved is None:
        pytest.skip("this machine shows no disks")
    disks = read_disks(moved)
    for number, disk in disks.items():
        assert (Path("/sys/dev/block") / number).exists()
        assert not (Path("/sys/dev/block") / number / "partition").exists()
        assert number not in disk.lower
    assert NetworkCollector().collect(0).replica == {
        "network_received_bytes": None,
        "network_sent_bytes": None,
    }


@pytest.mark.skipif(
    shutil.which("losetup") is None or shutil.which("mkfs.ext4") is None or os.geteuid() != 0,
    reason="a loop device needs losetup, mkfs.ext4 and root",
)
def test_a_real_loop_device_adds_nothing(tmp_path):
    """Writes to a file system in a file reach the disk below the file, and count there."""
    image = tmp_path / "image"
    image.write_bytes(b"")
    os.truncate(image, 64 * 1024 * 1024)
    made = subprocess.run(
        ["losetup", "-f", "--show", str(image)], capture_output=True, text=True, check=False
    )
    if made.returncode:
        pytest.skip(f"no loop device can be made: {made.stderr.strip()}")
    device = made.stdout.strip()
    try:
        subprocess.run(["mkfs.ext4", "-q", device], check=True)
        os.sync()
        number = (Path("/sys/class/block") / Path(device).name / "dev").read_text().strip()
        moved = read_machine_bytes()
        assert moved[number].written > 0
        assert not read_disks(moved)[number].is_disk
    finally:
        subprocess.run(["losetup", "-d", device], check=True)
