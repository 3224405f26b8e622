"""Stacked devices: bonds, bridges and VLANs on network cards; md, LVM and the like on disks.

Each layer counts the same bytes again. This module reads the stacking from sysfs (docs.kernel.org/admin-guide/abi:
/sys/class/net/<name>/lower_*, master, bonding/slaves; /sys/dev/block/<major:minor>/slaves), and counts each byte once.
`read_x` does I/O, the others are pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

NETWORK = Path("/sys/class/net")
BLOCK = Path("/sys/dev/block")
DEVICES = Path("/proc/devices")

LOOPBACK = frozenset({"lo", "lo0"})
_LOWER = "lower_"
# Kernel names of block devices that are not disks and have no visible lower device: their bytes are in memory, or in a
# file, which is counted on its own disk.
_NO_DISKS = ("loop", "ram", "zram")
_STACKED_DRIVERS = frozenset({"md", "mdp", "device-mapper", "bcache"})


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface: its lower interfaces, whether it is a card with a driver, whether it is a bridge port."""

    lower: frozenset[str] = frozenset()
    has_device: bool = False
    is_bridge_port: bool = False


@dataclass(frozen=True, slots=True)
class Disk:
    """A whole block device: its lower (whole) devices, and whether it is a disk at all."""

    lower: frozenset[str] = frozenset()
    is_disk: bool = True


def read_interfaces(names: Collection[str], root: Path = NETWORK) -> dict[str, Interface]:
    """Return the current state of each named interface; empty for one that sysfs does not show."""
    lower: dict[str, set[str]] = {name: set() for name in names}
    masters = {name: target for name in names if (target := _link(root / name / "master"))}
    for name in names:
        lower[name] |= {each.removeprefix(_LOWER) for each in _listed(root / name) if each.startswith(_LOWER)}
        lower[name] |= set(_text(root / name / "bonding/slaves").split())
    for name, master in masters.items():
        lower.setdefault(master, set()).add(name)
    return {
        name: Interface(
            lower=frozenset(lower[name] & set(names)),
            has_device=(root / name / "device").is_symlink(),
            is_bridge_port=(root / name / "brport").exists()
            or (name in masters and (root / masters[name] / "bridge").exists()),
        )
        for name in names
    }


def counted_interfaces(interfaces: Mapping[str, Interface]) -> frozenset[str]:
    """Return the interfaces that together carry all network bytes, each once.

    An interface on top of others does not count (except a card made of other cards, which counts instead of them). If
    there are cards, only they count: all virtual traffic that leaves the machine passes a card. If there are none (a
    container), bridge ports do not count: their traffic passes another interface, or stays inside.
    """
    names = {name for name in interfaces if name not in LOOPBACK}
    made_of_cards = {name for name in names if interfaces[name].has_device and interfaces[name].lower}
    names -= {each for name in made_of_cards for each in _all_lower(name, interfaces)}
    names -= {name for name in names if interfaces[name].lower and name not in made_of_cards}
    cards = {name for name in names if interfaces[name].has_device}
    return frozenset(cards or {name for name in names if not interfaces[name].is_bridge_port})


def read_disks(numbers: Collection[str], block: Path = BLOCK, devices: Path = DEVICES) -> dict[str, Disk]:
    """Return the block devices with these numbers (`259:0`), by number.

    If sysfs does not show one, the drivers' major numbers show at least whether it is a stacked device, which then does
    not count as a disk.
    """
    drivers = parse_devices(_text(devices))
    return {number: _read_disk(number, block, drivers) for number in numbers}


def disk_number(path: Path) -> str:
    """Return the number of the disk at `path` (/sys/class/block/<name>), empty for a partition."""
    return "" if (path / "partition").exists() else _text(path / "dev").strip()


def parse_devices(text: str) -> dict[str, str]:
    """Return major number -> driver of the block devices in /proc/devices."""
    _, _, block = text.partition("Block devices:")
    fields = (line.split() for line in block.splitlines())
    return {field[0]: field[1] for field in fields if len(field) == 2}


def add_up_once(moved: Mapping[str, int], disks: Mapping[str, Disk]) -> int:
    """Return the bytes that devices moved, each stack counted once.

    For a stack, this is the bytes of its lowest devices, or of its highest ones if that is more: a parity array does
    its I/O in a kernel thread, whose bytes belong to no control group.
    """
    moved = {number: bytes_ for number, bytes_ in moved.items() if disks[number].is_disk}
    total = 0
    for stack in _stacks(moved, disks):
        beneath = {each for number in stack for each in disks[number].lower}
        lowest = sum(moved[number] for number in stack if not disks[number].lower & moved.keys())
        highest = sum(moved[number] for number in stack if number not in beneath)
        total += max(lowest, highest)
    return total


def _read_disk(number: str, block: Path, drivers: Mapping[str, str]) -> Disk:
    path = block / number
    if not path.exists():
        driver = drivers.get(number.partition(":")[0], "")
        return Disk(is_disk=not driver.startswith(_NO_DISKS) and driver not in _STACKED_DRIVERS)
    name = path.resolve().name
    slaves = (path / "slaves" / each for each in _listed(path / "slaves"))
    lower = {found for slave in slaves if (found := _whole_disk(slave))}
    is_hidden = _text(path / "hidden").strip() == "1"  # one path of a multipath NVMe device
    return Disk(frozenset(lower), not name.startswith(_NO_DISKS) and not is_hidden)


def _whole_disk(device: Path) -> str:
    """Return the number of the device, or of its disk if it is a partition."""
    at = device.resolve()
    if (at / "partition").exists():
        at = at.parent
    return _text(at / "dev").strip()


def _all_lower(name: str, interfaces: Mapping[str, Interface]) -> Iterator[str]:
    waiting, seen = [name], {name}
    while waiting:
        for each in interfaces[waiting.pop()].lower - seen:
            seen.add(each)
            waiting.append(each)
            yield each


def _stacks(numbers: Iterable[str], disks: Mapping[str, Disk]) -> list[set[str]]:
    """Return the numbers grouped into stacks."""
    stacks: list[set[str]] = []
    for number in numbers:
        joined = {number}
        apart = []
        near = disks[number].lower | {number}
        for stack in stacks:
            related = stack | {each for member in stack for each in disks[member].lower}
            if related & near:
                joined |= stack
            else:
                apart.append(stack)
        stacks = [*apart, joined]
    return stacks


def _listed(directory: Path) -> list[str]:
    with suppress(OSError):
        return [path.name for path in directory.iterdir()]
    return []


def _link(path: Path) -> str:
    """Return the name of the link's target."""
    with suppress(OSError):
        return path.readlink().name
    return ""


def _text(path: Path) -> str:
    with suppress(OSError):
        return path.read_text()
    return ""
