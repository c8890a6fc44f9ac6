"""Which run folder is the newest."""
import os

from rtseg.training.run_folder import newest_run


def test_the_newest_run_is_the_one_whose_state_was_written_last(tmp_path):
    assert newest_run(str(tmp_path)) is None
    # The second was started in a container, whose clock shows an earlier local time.
    for name, seconds in (("2026-06-25_time_14_00_00", 100), ("2026-06-25_time_06_05_00", 200)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "last.ckpt").write_text("")
        os.utime(tmp_path / name / "last.ckpt", (seconds, seconds))
    (tmp_path / "2026-06-26_time_00_00_00").mkdir()  # without a state
    assert newest_run(str(tmp_path)).name == "2026-06-25_time_06_05_00"
    os.utime(tmp_path / "2026-06-25_time_14_00_00" / "last.ckpt", (200, 200))
    assert newest_run(str(tmp_path)).name == "2026-06-25_time_14_00_00"
