"""AMD GPUs: the real amdsmi with a library that follows a script."""

from __future__ import annotations

import pytest
from tests.agents.hardware.amd_smi import library as amd_smi
from tests.agents.hardware.stand_in import Driver

from endpoint_analytics.agents.hardware.gpu_amd import throttled_now, visible_positions

pytestmark = pytest.mark.outside

ONE = """
gpus - 0
enumeration 0 128 0 GPU-00aa
uuid 0 aaaa-1
name 0 MI300X
memory 0 10 100
errors 0 5 1
metrics 0 temperature_hotspot 61 average_gfx_activity 42 current_socket_power 712 accumulation_counter 1000 \
prochot_residency_acc 0 ppt_residency_acc 200 socket_thm_residency_acc 0 vr_thm_residency_acc 0 hbm_thm_residency_acc 0
""".replace("\\\n", "")
OLD = """
metrics 1 temperature_edge 50 temperature_hotspot 70 average_gfx_activity 7 average_socket_power 99
"""
TWO = (
    ONE.replace("gpus - 0", "gpus - 1 0")
    + "enumeration 1 129 1 GPU-00bb\nuuid 1 bbbb-2\nname 1 MI210\nmemory 1 20 200\n"
    + OLD
)


@pytest.fixture(scope="module")
def rocm(tmp_path_factory):
    return amd_smi.build(tmp_path_factory.mktemp("rocm"))


@pytest.fixture
def driver(rocm, tmp_path):
    drivers = []
    (tmp_path / "dev/dri").mkdir(parents=True)
    for node in ("kfd", "dri/renderD128", "dri/renderD129"):
        (tmp_path / "dev" / node).touch()

    def start(script: str, **environment: str) -> Driver:
        drivers.append(amd_smi.start(rocm, tmp_path, script, **environment))
        return drivers[-1]

    yield start
    for each in drivers:
        each.close()


def devices(sample: list[dict[str, object]]) -> list[tuple[object, object]]:
    return [(each["device"], each["uuid"]) for each in sample]


def test_all_figures_of_a_gpu(driver):
    machine = driver(ONE)
    (first,) = machine.sample()
    assert first["gpu_throttled_ratio"] is None, "it is counted from the first look on"
    machine.says(
        ONE.replace("accumulation_counter 1000", "accumulation_counter 2000")
        .replace("ppt_residency_acc 200", "ppt_residency_acc 450")
        .replace("hbm_thm_residency_acc 0", "hbm_thm_residency_acc 100")
    )
    assert machine.sample() == [
        {
            "device": "gpu0",
            "uuid": "aaaa-1",
            "name": "MI300X",
            "gpu_percent": 42.0,
            "gpu_memory_used_bytes": 10,
            "gpu_memory_total_bytes": 100,
            "gpu_power_watts": 712.0,
            "gpu_temperature_celsius": 61.0,
            "gpu_ecc_corrected_errors": 5.0,
            "gpu_ecc_uncorrected_errors": 1.0,
            "gpu_throttled_ratio": 0.25,
            "gpu_throttled_thermal_ratio": 0.1,
            "gpu_throttled_power_ratio": 0.25,
        }
    ]


def test_gpus_are_numbered_as_rocm_does_and_one_reports_less(driver):
    first, second = driver(TWO).sample()
    assert devices([first, second]) == [("gpu0", "aaaa-1"), ("gpu1", "bbbb-2")]
    assert (second["gpu_temperature_celsius"], second["gpu_power_watts"]) == (50.0, 99.0)
    assert second["gpu_ecc_corrected_errors"] is None
    assert second["gpu_throttled_ratio"] is None


def test_one_gpus_error_is_null_and_stops_no_other(driver):
    first, second = driver(TWO.replace("memory 0 10 100", "memory 0 error 31")).sample()
    assert first["gpu_memory_used_bytes"] is None
    assert first["gpu_percent"] == 42.0
    assert second["gpu_memory_used_bytes"] == 20


def test_only_gpus_whose_node_the_container_has(driver, tmp_path):
    (tmp_path / "dev/dri/renderD128").unlink()
    assert devices(driver(TWO).sample()) == [("gpu0", "bbbb-2")]


@pytest.mark.parametrize(
    ("environment", "uuids"),
    [
        ({"ROCR_VISIBLE_DEVICES": "1"}, ["bbbb-2"]),
        ({"ROCR_VISIBLE_DEVICES": "GPU-00bb,0"}, ["bbbb-2", "aaaa-1"]),
        ({"ROCR_VISIBLE_DEVICES": "1,0", "HIP_VISIBLE_DEVICES": "0"}, ["bbbb-2"]),
        ({"CUDA_VISIBLE_DEVICES": "1"}, ["bbbb-2"]),
        ({"HIP_VISIBLE_DEVICES": "0", "CUDA_VISIBLE_DEVICES": "1"}, ["aaaa-1"]),
        ({"HIP_VISIBLE_DEVICES": ""}, []),
    ],
)
def test_only_visible_gpus(driver, environment, uuids):
    assert [each["uuid"] for each in driver(TWO, **environment).sample()] == uuids


def test_a_gpu_that_is_taken_away_goes_from_the_list(driver):
    machine = driver(TWO)
    machine.sample()
    machine.says(TWO.replace("gpus - 1 0", "gpus - 1").replace("metrics 0", "gone 0").replace("memory 0", "gone 0")
                 .replace("errors 0", "gone 0"))  # fmt: skip
    samples = [machine.sample() for _ in range(11)]
    assert devices(samples[0]) == [("gpu0", "aaaa-1"), ("gpu1", "bbbb-2")]
    assert devices(samples[-1]) == [("gpu1", "bbbb-2")], "what is left keeps its name"
    assert "gpu0 is gone" in machine.log.read_text()


def test_without_the_driver_it_is_said_once(driver, tmp_path):
    (tmp_path / "dev/kfd").unlink()
    machine = driver(ONE)
    assert [machine.sample(), machine.sample()] == [[], []]
    assert machine.log.read_text() == f"no GPU metrics: AMD: no driver ({tmp_path}/dev/kfd)\n"


def test_a_library_that_cannot_start(driver):
    machine = driver("init - error 34")
    assert machine.sample() == []
    assert "AMDSMI_STATUS_DRIVER_NOT_LOADED" in machine.log.read_text()


def test_a_module_without_its_library(driver, tmp_path):
    machine = driver(ONE, ROCM_PATH=str(tmp_path / "nowhere"))
    machine.process.stdin.write(b"\n")
    machine.process.stdin.flush()
    while machine.process.stdout.readline() != b"[]\n":  # the module prints to stdout what it misses
        pass
    assert "no GPU metrics: AMD: amdsmi cannot be used: KeyError: 'libamd_smi.so'" in machine.log.read_text()


@pytest.mark.parametrize(
    ("status", "reported"),
    [(0, (0, 0, 0)), (1 << 36, (1, 0, 1)), (1 << 0, (0, 1, 1)), (1 << 16, (0, 0, 1)), (1 << 57, (0, 0, 1))],
)
def test_older_chips_report_the_current_status(status, reported):
    assert throttled_now({"indep_throttle_status": status}) == reported
    assert throttled_now({"indep_throttle_status": "N/A"}) == (None, None, None)
    assert throttled_now(None) == (None, None, None)


def test_without_uuids_numbers_still_count():
    assert visible_positions({"ROCR_VISIBLE_DEVICES": "1"}, [{}, {}]) == [1]
    assert visible_positions({}, [{}, {}]) == [0, 1]
