"""Devices that lie on others: bonds, bridges and VLANs over network cards, md, LVM and the like over disks.

Each layer counts the same bytes again. Here is who lies on whom, as sysfs shows it (docs.kernel.org/admin-guide/abi:
/sys/class/net/<name>/lower_*, master, bonding/slaves; /sys/dev/block/<major:minor>/slaves), and what is left when each
is counted once. `read_x` does I/O, the others are pure.
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
# What has no device beneath that is seen, and is none itself: its bytes are in memory, or are a file's, which counts
# where it lies. Their names are the kernel's own.
_NO_DISKS = ("loop", "ram", "zram")
_STACKED_DRIVERS = frozenset({"md", "mdp", "device-mapper", "bcache"})


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface: those it lies on, whether a driver of a card has it, and whether it is a bridge's port."""

    lower: frozenset[str] = frozenset()
    has_device: bool = False
    is_bridge_port: bool = False


@dataclass(frozen=True, slots=True)
class Disk:
    """A whole block device: those (whole ones) it lies on, and whether it is a disk at all."""

    lower: frozenset[str] = frozenset()
    is_disk: bool = True


def read_interfaces(names: Collection[str], root: Path = NETWORK) -> dict[str, Interface]:
    """Return each named interface as it is now; of one that sysfs does not show, nothing is known."""
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
    """Return the interfaces whose bytes are all of the network's, each once.

    Those that lie on others do not count (a card that is made of others does, for them). Where there are cards, only
    these do: all that virtual ones take out of the machine passes a card. Where there are none (a container), ports of
    bridges do not: what they carry comes and goes by another interface, or stays inside.
    """
    names = {name for name in interfaces if name not in LOOPBACK}
    made_of_cards = {name for name in names if interfaces[name].has_device and interfaces[name].lower}
    names -= {each for name in made_of_cards for each in _all_lower(name, interfaces)}
    names -= {name for name in names if interfaces[name].lower and name not in made_of_cards}
    cards = {name for name in names if interfaces[name].has_device}
    return frozenset(cards or {name for name in names if not interfaces[name].is_bridge_port})


def read_disks(numbers: Collection[str], block: Path = BLOCK, devices: Path = DEVICES) -> dict[str, Disk]:
    """Return the block devices of these numbers (`259:0`), by number.

    Where sysfs does not show one, the drivers' major numbers tell at least whether it is one that lies on others; it
    then counts as no disk of its own.
    """
    drivers = parse_devices(_text(devices))
    return {number: _read_disk(number, block, drivers) for number in numbers}


def disk_number(place: Path) -> str:
    """Return the number of the disk at `place` (/sys/class/block/<name>), nothing for a partition."""
    return "" if (place / "partition").exists() else _text(place / "dev").strip()


def parse_devices(text: str) -> dict[str, str]:
    """Return major number -> driver of the block devices in /proc/devices."""
    _, _, block = text.partition("Block devices:")
    fields = (line.split() for line in block.splitlines())
    return {field[0]: field[1] for field in fields if len(field) == 2}


def add_up_once(moved: Mapping[str, int], disks: Mapping[str, Disk]) -> int:
    """Return the bytes that devices moved, each stack counted once.

    Of a stack it is what its lowest devices moved, or its highest ones if that is more: a parity array does what it is
    asked in a thread of the kernel, whose bytes are in nobody's group.
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
    place = block / number
    if not place.exists():
        driver = drivers.get(number.partition(":")[0], "")
        return Disk(is_disk=not driver.startswith(_NO_DISKS) and driver not in _STACKED_DRIVERS)
    name = place.resolve().name
    slaves = (place / "slaves" / each for each in _listed(place / "slaves"))
    lower = {found for slave in slaves if (found := _whole_disk(slave))}
    is_hidden = _text(place / "hidden").strip() == "1"  # a path of an NVMe device that has several
    return Disk(frozenset(lower), not name.startswith(_NO_DISKS) and not is_hidden)


def _whole_disk(device: Path) -> str:
    """Return the number of the device, or of the disk that it is a partition of."""
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
    """Return the numbers in groups that lie on each other."""
    stacks: list[set[str]] = []
    for number in numbers:
        joined = {number}
        apart = []
        near = disks[number].lower | {number}
        for stack in stacks:
            reach = stack | {each for member in stack for each in disks[member].lower}
            if reach & near:
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
    """Return the name of what the link leads to."""
    with suppress(OSError):
        return path.readlink().name
    return ""


def _text(path: Path) -> str:
    with suppress(OSError):
        return path.read_text()
    return ""
