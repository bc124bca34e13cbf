"""What a run leaves in TensorBoard at its end, beside the curves."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytorch_lightning.loggers import TensorBoardLogger

from thawlab.advice import applied
from thawlab.tensorboard import HPARAM_METRICS, confusion_figure, examples_figure, hparams_of, labels_figure

if TYPE_CHECKING:
    from thawlab.training import Trained


def log_results(logger: TensorBoardLogger, trained: "Trained") -> None:
    """The hyperparameters beside the final metrics, the confusion matrix (or each label's bar), example predictions.

    Hyperparameters are logged once and at the end: logged earlier, TensorBoard shows a false zero for each metric;
    under other names from run to run, columns vanish.
    """
    step = int(trained.curves[-1]["step"])
    splits, count = trained.prepared.splits, trained.prepared.specs.logger.images
    columns = HPARAM_METRICS[splits.task]
    values = {column: trained.metrics[name]["value"] for column, name in columns.items()}
    logger.log_hyperparams(hparams_of(applied(trained.prepared.config, trained.prepared.advice)), values, step=step)
    writer = logger.experiment
    if count:
        if trained.confusion:
            writer.add_figure("test/confusion", confusion_figure(trained.confusion, splits.classes), step)
        else:
            writer.add_figure("test/labels", labels_figure(trained.per_class), step)
        writer.add_figure("test/examples", _examples(trained, count), step)
    logger.finalize("success")
    Path(logger.log_dir, "hparams.yaml").unlink(missing_ok=True)  # result.json holds the whole config


def _examples(trained: "Trained", count: int) -> Any:
    """Half mistakes, the most confident first, and half right answers, spread over the test set."""
    rows = list(enumerate(trained.predictions))
    wrong = sorted((r for r in rows if r[1]["label"] != r[1]["predicted"]), key=lambda r: -r[1]["confidence"])
    right = [r for r in rows if r[1]["label"] == r[1]["predicted"]]
    chosen = wrong[: count // 2]
    room = count - len(chosen)
    chosen += right[:: max(1, len(right) // room)][:room] if right else []
    test = trained.prepared.splits.test
    return examples_figure(
        [test.load(i).numpy() for i, _ in chosen],
        [row["label"] or "(none)" for _, row in chosen],
        [row["predicted"] or "(none)" for _, row in chosen],
        [row["confidence"] for _, row in chosen],
    )
