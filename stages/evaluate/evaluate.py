"""Measure the version that train registered on the test rows, and put it in production if the rule says so."""

import functools
import json
import logging
import re
from pathlib import Path

import lineage
import pandas as pd
import tracking
from claim import PATIENCE, Patience
from contract import Checked, StageError, read_params, read_samples, run
from life import end_silent
from promotion import judge, move_staging, promote
from registry import ColumnsError, ModelError, load, read_pointer, require_same
from rule import Rule
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
    trust_pickle: bool
    promote: Rule


def predict(model: ClassifierMixin, samples: pd.DataFrame) -> list[str]:
    """Give a label for each sample.

    Raises:
        ColumnsError: The model was fitted on other columns.
    """
    columns = list(getattr(model, "feature_names_in_", []))
    if sorted(columns) != sorted(samples.columns):
        raise ColumnsError(f"it was fitted on the columns {columns}, and {TEST} has {list(samples.columns)}")
    labels: list[str] = model.predict(samples[columns]).tolist()
    return labels


def knows(model: ClassifierMixin, actual: "pd.Series[str]") -> bool:
    """Say whether a model was fitted on the classes that the rows hold, and on no others."""
    return set(map(str, getattr(model, "classes_", ()))) == set(actual)


def score(actual: "pd.Series[str]", predicted: list[str]) -> dict[str, float]:
    """Measure predictions, overall and for each class that the test rows hold, to 6 digits."""
    classes = sorted(actual.unique())
    by_class = precision_recall_fscore_support(actual, predicted, labels=classes, zero_division=0)
    accuracy = (actual == predicted).mean()
    metrics = {"accuracy": accuracy, "error_rate": 1 - accuracy}
    for kind, values in zip(("precision", "recall", "f1"), by_class, strict=False):
        metrics[f"macro_{kind}"] = values.mean()
        metrics |= {f"{kind}.{metric_name(label)}": value for label, value in zip(classes, values, strict=True)}
    return {name: round(float(value), 6) for name, value in metrics.items()}


def metric_name(label: str) -> str:
    """Keep what MLflow takes for a metric's name: ``>50K`` becomes ``_50K``."""
    return re.sub(r"[^\w .-]", "_", label)


def main(patience: Patience = PATIENCE) -> None:
    """Write the metrics, log them to the model's run, and move the aliases."""
    params = read_params("evaluate", Params)
    samples, actual = read_samples(TEST, params.target)
    pointer = read_pointer(POINTER)

    with tracking.connect() as client:

        def predict_by(version: str) -> tuple[list[str], bool]:
            model = load(client, pointer.model_name, version, trust_pickle=params.trust_pickle)
            return predict(model, samples), knows(model, actual)

        @functools.cache
        def measure(version: str) -> tuple[dict[str, float], bool]:
            predicted, same_classes = predict_by(version)
            return score(actual, predicted), same_classes

        try:
            require_same(client, pointer)
            predicted, _ = predict_by(pointer.model_version)
        except ModelError as error:
            remedy = "set MLFLOW_TRACKING_URI to the server it is on, or train again: .venv/bin/dvc-runner run -f"
            raise StageError(f"{POINTER} names {pointer.model_uri}: {error}; {remedy}") from error
        metrics = score(actual, predicted)
        METRICS.write_text(json.dumps(metrics, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        pd.DataFrame({"actual": actual, "predicted": predicted}).to_csv(MATRIX, index=False, lineterminator="\n")

        end_silent(client, client.get_run(pointer.run_id).info.experiment_id)
        tracking.log_dataset(client, pointer.run_id, TEST, samples, actual, context="test")
        origin = lineage.log(client, pointer.run_id, {TEST: (samples, actual)}, under="evaluate/")
        tracking.log_files(client, pointer.run_id, [METRICS, MATRIX], folder="evaluate")
        tracking.log_values(client, pointer.run_id, metrics=metrics)
        who = lineage.who(origin)
        judged = functools.partial(judge, client, pointer, params.promote, metrics, measure, who)
        decision = promote(client, pointer, judged, patience)
        tracking.log_values(client, pointer.run_id, tags=decision.tags())
        move_staging(client, pointer, decision)

    log.info("%d rows, accuracy %.4f, macro F1 %.4f", len(samples), metrics["accuracy"], metrics["macro_f1"])
    verdict = "goes into production" if decision.promoted else "changes nothing in production"
    log.info("version %s %s: %s: %s", pointer.model_version, verdict, params.promote.metric, decision.reason)


if __name__ == "__main__":
    run(main)
