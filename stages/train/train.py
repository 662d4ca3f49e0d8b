"""Fit a random forest, log it to MLflow and register it."""

import logging
from pathlib import Path

import lineage
import pandas as pd
import registry
import tracking
from contract import Checked, read_params, read_samples, run
from pydantic import Field
from sklearn.ensemble import RandomForestClassifier

TRAIN = Path("data/processed/train.csv")
OUT = Path("models/model_metadata.json")

log = logging.getLogger("train")


class Params(Checked):
    """The section ``train`` of params.yaml."""

    target: str
    seed: int = Field(ge=0, lt=2**32)
    n_estimators: int = Field(ge=1)
    max_depth: int | None = Field(ge=1)
    min_samples_leaf: int = Field(ge=1)
    experiment: str = Field(min_length=1)
    model_name: str = Field(pattern=r"^[^/:]+$")


def fit(samples: pd.DataFrame, labels: pd.Series, params: Params) -> RandomForestClassifier:
    """Fit the forest; one process, so that the same numbers come out wherever it runs."""
    forest = RandomForestClassifier(
        n_estimators=params.n_estimators,
        max_depth=params.max_depth,
        min_samples_leaf=params.min_samples_leaf,
        random_state=params.seed,
        oob_score=True,
        n_jobs=1,
    )
    return forest.fit(samples, labels)


def main() -> None:
    """Read the train table, fit, log, register, and leave a pointer to the model's version."""
    params = read_params("train", Params)
    samples, labels = read_samples(TRAIN, params.target)
    with tracking.connect() as client, tracking.training_run(client, params.experiment) as mlflow_run:
        run_id = mlflow_run.info.run_id
        origin = lineage.log(client, run_id, {TRAIN: (samples, labels)})
        tracking.log_values(client, run_id, params=params.model_dump())
        tracking.log_dataset(client, run_id, TRAIN, samples, labels, context="training")
        forest = fit(samples, labels, params)
        # Out of bag: each row judged by the trees that did not see it. The test rows are evaluate's.
        metrics = {"train_accuracy": forest.score(samples, labels), "oob_accuracy": forest.oob_score_}
        tracking.log_values(client, run_id, metrics=metrics)
        pointer = registry.register(client, mlflow_run, forest, samples, params.model_name, tags=lineage.tags(origin))
        OUT.write_text(pointer.model_dump_json(indent=2) + "\n", encoding="utf-8")
    log.info("%d rows, train accuracy %.4f, out-of-bag accuracy %.4f", len(samples), *metrics.values())
    log.info("%s of run %s", pointer.model_uri, run_id)


if __name__ == "__main__":
    run(main)
