"""MLflow page of a run during learning: its settings at the start, its metrics as they arrive.

Used in a thread: first call `load` in the main thread, where MLflow's import warnings can be silenced.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ami.storage.files import write_json
from ami.tracking.mlflow_database import opened, quiet_mlflow
from ami.tracking.mlflow_runs import MEMORY, Row, experiment_of, known_run, log_parameters, log_rows, remembered_run

EXPERIMENT = "ami"


def load() -> None:
    """Import MLflow silently, with the parts of its store that warn at first use."""
    with quiet_mlflow():
        import mlflow.store.tracking.sqlalchemy_store  # noqa: F401  (its tables)
        from sqlalchemy.orm import configure_mappers

        configure_mappers()


class LivePage:
    """The MLflow run of a folder, continued if an earlier attempt in this folder created it.

    Args:
        folder: the run's folder, which also names it.
        store_folder: holds `mlflow.db` and `mlartifacts/`; created if missing.
        parameters: every setting, nested plain values.
        tags: of the run.

    Raises:
        SettingError: the store cannot be created or read.
    """

    def __init__(self, folder: Path, store_folder: Path, parameters: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        self.folder, self.store_folder = Path(folder), Path(store_folder).resolve()
        with opened(self.store_folder, quiet=False) as (mlflow, client, uri):
            run_id = known_run(mlflow, client, remembered_run(self.folder))
            if run_id is None:
                experiment_id = experiment_of(client, EXPERIMENT, self.store_folder)
                made = client.create_run(experiment_id, run_name=self.folder.resolve().name, tags=dict(tags))
                run_id = str(made.info.run_id)
                write_json(self.folder / MEMORY, {"run_id": run_id, "experiment": EXPERIMENT})
            else:
                client.update_run(run_id, status="RUNNING")
            self.run_id = run_id
            self._started = int(client.get_run(run_id).info.start_time)
            log_parameters(mlflow, client, run_id, parameters)
            self._mlflow, self._client = mlflow, mlflow.MlflowClient(tracking_uri=uri)

    def log(self, rows: Sequence[Row]) -> None:
        """Log metrics; those logged before are recognised and not logged twice."""
        log_rows(self._mlflow, self._client, self.run_id, rows, self._started)

    def end(self, status: str) -> None:
        """Set the final status: FINISHED, FAILED or KILLED."""
        self._client.set_terminated(self.run_id, status)
