"""On a driver in C that stands in for a GPU."""

from __future__ import annotations

from visit_folders import by_id, cuda_folder, expected, pack, results, run


def test_on_a_toy_driver_events_time_and_an_error_costs_the_worker(tmp_path, deeds, toy_cuda):
    driver, runtime = toy_cuda
    order = ("nap", "worn", "refuse", "sleep", "tick")
    first = pack({name: deeds(name) for name in order})
    second = pack({"right": deeds("double")}, checks={"right": expected(2)})
    folder = cuda_folder(tmp_path / "visit", first, second)
    run(folder, "--runtime", runtime, environment={"LD_LIBRARY_PATH": str(driver)})
    facts = results(folder)[0]
    assert facts["name"] == "Toy GPU"
    assert facts["capability"] == "9.0"
    assert facts["driver"] == "CUDA 13.1"
    assert [facts["clock_mhz"], facts["processors"], facts["l2_bytes"]] == [1980, 16, None]
    assert facts["memory_bytes"] == 5 << 32
    records = by_id(folder)
    assert [r["status"] for r in records.values()] == ["ok", "ok", "run_error", "ok", "ok", "ok"]
    assert 1e-4 < min(records["tick"]["times_s"]) < 1e-3
    assert 2e-3 < min(records["nap"]["times_s"]) < 20e-3
    assert 50e-3 < min(records["sleep"]["times_s"]) < 100e-3
    nap = records["nap"]
    assert [nap["clock_mhz"], nap["temperature_c"], nap["throttled"]] == [1701, 55, True]
    assert records["right"]["relative_error"] < 1e-6
