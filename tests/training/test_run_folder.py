"""Which run folder is the newest, and which files a rank brings home."""
import os

from rtseg.training.run_folder import files_of_rank, newest_run, saved_weights, weights_path


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


def test_an_output_folder_may_be_called_as_a_folder_of_checkpoints_is(tmp_path):
    output = tmp_path / "ckpt_scores"
    (output / "ckpt_1").mkdir(parents=True)
    (output / "ckpt_1" / "of another rank.ckpt").touch()
    (output / "eval_results.txt").touch()
    assert files_of_rank(output, 0) == [output / "eval_results.txt"]


def test_weights_are_in_the_order_of_their_epochs_and_other_files_are_not_among_them(tmp_path):
    paths = [weights_path(tmp_path, 0, model="fast_scnn", epoch=epoch, steps_per_epoch=91) for epoch in (2, 10, 9)]
    for path in (*paths, tmp_path / "ckpt_0" / "best.ckpt"):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert saved_weights(tmp_path, 0) == [paths[0], paths[2], paths[1]]
