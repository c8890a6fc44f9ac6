"""Scores of the official Cityscapes evaluation (package cityscapesscripts), as the reference for our own."""
import contextlib
import copy
import io
import math
from typing import Dict, Iterable, Tuple


def official_scores(pairs: Iterable[Tuple[str, str]]) -> Tuple[float, float, Dict[str, float]]:
    """Runs evalPixelLevelSemanticLabeling without printing anything or leaving a results file.

    Args:
        pairs: (predicted label ids, gtFine labelIds) paths of PNG files; ids, not train ids.

    Returns:
        mean IoU, pixel accuracy over the pixels that are not ignored, IoU of each of the 19 classes (NaN if absent);
        all 0..1. The official tool reports no pixel accuracy, so it is read from the official confusion matrix.

    Raises:
        RuntimeError: the official evaluation gave up; the message is its own.
    """
    from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as official
    from cityscapesscripts.helpers.labels import id2label

    arguments = copy.copy(official.args)
    arguments.quiet, arguments.JSONOutput, arguments.evalInstLevelScore = True, False, False
    predictions, labels = zip(*((str(prediction), str(label)) for prediction, label in pairs))
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            results = official.evaluateImgLists(predictions, labels, arguments)
    except SystemExit as error:
        raise RuntimeError(f"the official evaluation stopped: {printed.getvalue().strip()}") from error

    scored = [i for i in range(len(results["confMatrix"])) if not id2label[i].ignoreInEval]
    right = sum(results["confMatrix"][i][i] for i in scored)
    counted = sum(sum(results["confMatrix"][i]) for i in scored)
    classes = {id2label[i].name: results["classScores"][id2label[i].name] for i in scored}
    return results["averageScoreClasses"], right / counted if counted else math.nan, classes
