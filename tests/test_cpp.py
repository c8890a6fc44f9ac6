"""Builds ascend310_infer and runs its own tests, plainly and under the address and undefined-behaviour sanitizers."""
import os
import shutil
import subprocess
import sys

import pytest
from script_helpers import PROJECT

pytestmark = pytest.mark.skipif(not (shutil.which("cmake") and shutil.which(os.environ.get("CXX", "c++"))),
                                reason="building the C++ program needs CMake and a C++17 compiler")


@pytest.mark.parametrize("options", [(), ("-DSANITIZE=ON",)], ids=["release", "sanitizers"])
def test_unit_contract_and_end_to_end_tests(tmp_path, options):
    environment = {**os.environ, "BUILD_DIR": str(tmp_path / "build")}
    built = subprocess.run(["bash", "ascend310_infer/build.sh", "-DBUILD_TESTING=ON", f"-DPYTHON={sys.executable}",
                            *options], cwd=PROJECT, env=environment, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr[-3000:]
    assert built.stdout.strip() == str(tmp_path / "build" / "main")
    done = subprocess.run(["ctest", "--output-on-failure"], cwd=tmp_path / "build", capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:]
    for name in ("unit_tests", "engine_factory_tests", "engine_acl_tests", "engine_mindspore_lite_tests", "end_to_end"):
        assert f" {name} " in done.stdout
    if "Skipped" in done.stdout:  # MindSpore 2.7 brings the headers of MindSpore Lite, later ones do not
        pytest.skip(done.stdout)
