import json
from pathlib import Path

import pytest

from ami.errors import TraceError
from ami.learning.learning_log import NAME, LearningLog, read_rows

ROWS = [{"stage": "model", "step": 0.0, "loss": 2.0}, {"stage": "model", "step": 20.0, "loss": float("nan"), "success": 0.5}]


def test_rows_are_there_as_soon_as_they_are_logged(tmp_path: Path) -> None:
    with LearningLog(tmp_path) as log:
        log.append(ROWS[0])
        assert read_rows(tmp_path) == ROWS[:1]
        log.append(ROWS[1])
        assert str(read_rows(tmp_path)) == str(ROWS)


def test_a_cut_off_line_ends_the_rows_and_a_resumed_training_rewrites_them(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text(json.dumps(ROWS[0]) + '\n{"stage": "mod')
    assert read_rows(tmp_path) == ROWS[:1]
    with LearningLog(tmp_path, ROWS[:1]) as log:
        log.append(ROWS[1])
    assert len(read_rows(tmp_path)) == 2 and list(tmp_path.iterdir()) == [tmp_path / NAME]


@pytest.mark.parametrize("line", ["[]", '{"loss": 1}', '{"step": "0"}', '{"step": 0, "loss": "x"}',
                                  '{"step": 0, "stage": 3}'])
def test_an_invalid_line_ends_the_rows(tmp_path: Path, line: str) -> None:
    (tmp_path / NAME).write_text(f'{{"step": 0}}\n{line}\n{{"step": 1}}\n')
    assert read_rows(tmp_path) == [{"step": 0}]


def test_a_run_without_a_log_has_no_rows_and_a_pipe_is_refused(tmp_path: Path) -> None:
    import os

    assert read_rows(tmp_path) == []
    os.mkfifo(tmp_path / NAME)
    with pytest.raises(TraceError, match=r"learning\.jsonl is not a learning log: it is a pipe"):
        read_rows(tmp_path)
