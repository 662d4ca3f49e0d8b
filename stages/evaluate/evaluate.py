"""Measure the version that train registered on the test rows, and put it in production if the rule says so."""

import json
import logging
import re
from pathlib import Path

import pandas as pd
import tracking
from contract import Checked, StageError, read_params, read_samples, run
from promotion import Rule, judge, move_aliases
from registry import ModelError, load, read_pointer, require_same
from sklearn.base import ClassifierMixin
from sklearn.metrics import precision_recall_fscore_support

TEST = Path("data/processed/test.csv")
POINTER = Path("models/model_metadata.json")
METRICS = Path("metrics/metrics.json")
MATRIX = Path("metrics/confusion_matrix.csv")

log = logging.getLogger("evaluate")


class Params(Checked):
    """The section ``evaluate`` of params.yaml."""

    target: str
    promote: Rule


def predict(model: ClassifierMixin, samples: pd.DataFrame) -> list[str]:
    """Give a label for each sample.

    Raises:
        ModelError: The model was fitted on other columns.
    """
    columns = list(getattr(model, "feature_names_in_", []))
    if sorted(columns) != sorted(samples.columns):
        raise ModelError(f"it was fitted on the columns {columns}, and {TEST} has {list(samples.columns)}")
    labels: list[str] = model.predict(samples[columns]).tolist()
    return labels


def score(actual: "pd.Series[str]", predicted: list[str]) -> dict[str, float]:
    """Measure predictions, overall and for each class that the test rows hold, to 6 digits."""
    classes = sorted(actual.unique())
    by_class = precision_recall_fscore_support(actual, predicted, labels=classes, zero_division=0)
    metrics = {"accuracy": (actual == predicted).mean()}
    for kind, values in zip(("precision", "recall", "f1"), by_class, strict=False):
        metrics[f"macro_{kind}"] = values.mean()
        metrics |= {f"{kind}.{metric_name(label)}": value for label, value in zip(classes, values, strict=True)}
    return {name: round(float(value), 6) for name, value in metrics.items()}


def metric_name(label: str) -> str:
    """Keep what MLflow takes for a metric's name: ``>50K`` becomes ``_50K``."""
    return re.sub(r"[^\w .-]", "_", label)


def main() -> None:
    """Write the metrics, log them to the model's run, and move the aliases."""
    params = read_params("evaluate", Params)
    samples, actual = read_samples(TEST, params.target)
    pointer = read_pointer(POINTER)

    with tracking.connect() as client:

        def predict_by(version: str) -> list[str]:
            return predict(load(client, pointer.model_name, version), samples)

        try:
            require_same(client, pointer)
            predicted = predict_by(pointer.model_version)
        except ModelError as error:
            remedy = "set MLFLOW_TRACKING_URI to the server it is on, or train again: .venv/bin/dvc-runner run -f"
            raise StageError(f"{POINTER} names {pointer.model_uri}: {error}; {remedy}") from error
        metrics = score(actual, predicted)
        METRICS.write_text(json.dumps(metrics, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        pd.DataFrame({"actual": actual, "predicted": predicted}).to_csv(MATRIX, index=False, lineterminator="\n")

        decision = judge(client, pointer, params.promote, metrics, lambda version: score(actual, predict_by(version)))
        tracking.log_dataset(client, pointer.run_id, TEST, samples, actual, context="test")
        tracking.log_lineage(client, pointer.run_id, under="evaluate/")
        tracking.log_files(client, pointer.run_id, [METRICS, MATRIX], folder="evaluate")
        tracking.log_values(client, pointer.run_id, metrics=metrics, tags=decision.tags())
        move_aliases(client, pointer, decision)

    log.info("%d rows, accuracy %.4f, macro F1 %.4f", len(samples), metrics["accuracy"], metrics["macro_f1"])
    verdict = "goes into production" if decision.promoted else "changes nothing in production"
    log.info("version %s %s: %s: %s", pointer.model_version, verdict, decision.metric, decision.reason)


if __name__ == "__main__":
    run(main)
