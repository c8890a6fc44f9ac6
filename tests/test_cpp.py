"""Builds ascend310_infer and runs its own tests, plainly and under the address and undefined-behaviour sanitizers."""
import os
import shutil
import subprocess
import sys

import pytest
from script_helpers import PROJECT

pytestmark = pytest.mark.skipif(not (shutil.which("cmake") and shutil.which(os.environ.get("CXX", "c++"))),
                                reason="building the C++ program needs CMake and a C++17 compiler")


@pytest.fixture(scope="module")
def acl_headers():
    """CMake options that give the tests AscendCL's real headers; without a network none, and the reason is printed."""
    done = subprocess.run([sys.executable, PROJECT / "ascend310_infer" / "test" / "fetch_acl_headers.py"],
                          capture_output=True, text=True)
    print(done.stderr)
    return [f"-DACL_TEST_INCLUDE={done.stdout.strip()}"] if done.returncode == 0 else []


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["ci", "sanitize"])
def test_unit_contract_and_end_to_end_tests(tmp_path, preset, acl_headers):
    environment = {**os.environ, "BUILD_DIR": str(tmp_path / "build")}
    built = subprocess.run(["bash", "ascend310_infer/build.sh", "--preset", preset, f"-DPYTHON={sys.executable}",
                            *acl_headers], cwd=PROJECT, env=environment, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr[-3000:]
    assert built.stdout.strip() == str(tmp_path / "build" / "main")
    done = subprocess.run(["ctest", "--output-on-failure"], cwd=tmp_path / "build", capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:]
    for name in ("unit_tests", "engine_factory_tests", "engine_acl_tests", "engine_mindspore_lite_tests", "end_to_end",
                 "end_to_end_images"):
        assert f" {name} " in done.stdout
    if "Skipped" in done.stdout:  # no network for AscendCL's headers, or a MindSpore that brings none of MindSpore Lite
        pytest.skip(done.stdout)
