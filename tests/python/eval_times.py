"""Times the published tools on the data that `cargo xtask bench eval` made: eval_times.py PACKAGES TASK ROUNDS FOLDER.

Prints one JSON object: seconds of every round, the values that the other side has to reproduce, and the largest memory.
Reading files and making tables is not timed.
"""

import json
import math
import resource
import sys
import time
from pathlib import Path

# behind the standard library: the published tools bring a pathlib for Python 2 along
sys.path.append(sys.argv[1])

import numpy as np
from safetensors import safe_open
from sed_scores_eval import intersection_based, segment_based
from sed_scores_eval.base_modules import io
from sed_scores_eval.base_modules.scores import create_score_dataframe


def read_scores(path, clips=None):
    with safe_open(path, "numpy") as file:
        classes = json.loads(file.metadata()["classes"])
        names = sorted(key.removeprefix("scores/") for key in file.keys() if key.startswith("scores/"))
        timestamps = file.get_tensor("timestamps")
        values = {name: file.get_tensor(f"scores/{name}").astype(np.float64) for name in names[:clips]}
    return values, timestamps, classes


def tables(values, timestamps, classes):
    return {name: create_score_dataframe(value, timestamps, classes) for name, value in values.items()}


def timed(rounds, call):
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        result = call()
        seconds.append(time.perf_counter() - start)
    return seconds, result


def desed(folder, clips=None):
    values, timestamps, classes = read_scores(folder / "scores.safetensors", clips)
    truth = io.read_ground_truth_events(folder / "ground_truth.tsv")
    durations = io.read_audio_durations(folder / "durations.tsv")
    truth = {name: truth[name] for name in values}
    durations = {name: durations[name] for name in values}
    return tables(values, timestamps, classes), truth, durations, classes


def psds(folder, rounds, **settings):
    scores, truth, durations, classes = desed(folder)
    seconds, result = timed(
        rounds,
        lambda: intersection_based.psds(
            scores=scores, ground_truth=truth, audio_durations=durations, unit_of_time="hour", max_efpr=100.0, **settings
        ),
    )
    value, by_class = result[0], result[1]
    return seconds, [value] + [by_class[name] for name in classes]


def second_means(timestamps, length):
    """Weights (second, frame) that average frames over seconds by overlap."""
    seconds = np.arange(math.ceil(length), dtype=float)[:, None]
    overlap = np.minimum(seconds + 1, np.minimum(timestamps[1:], length)) - np.maximum(seconds, timestamps[:-1])
    overlap = np.maximum(overlap, 0)
    return overlap / overlap.sum(1, keepdims=True)


def mpauc(folder, rounds):
    values, timestamps, classes = read_scores(folder / "maestro_scores.safetensors")
    truth = io.read_ground_truth_events(folder / "maestro_ground_truth.tsv")
    durations = io.read_audio_durations(folder / "maestro_durations.tsv")
    frames = tables(values, timestamps, classes)

    def call():
        sums = {name: np.zeros((math.ceil(length), len(classes))) for name, length in durations.items()}
        counts = {name: np.zeros((math.ceil(length), 1)) for name, length in durations.items()}
        for name, table in frames.items():
            recording, onset, offset = name.rsplit("-", 2)
            start, length = int(onset) // 100, (int(offset) - int(onset)) / 100
            means = second_means(timestamps, length) @ table[classes].to_numpy()
            end = min(start + len(means), len(sums[recording]))
            sums[recording][start:end] += means[: end - start]
            counts[recording][start:end] += 1
        scores = {
            name: create_score_dataframe(
                sums[name] / np.maximum(counts[name], 1),
                np.minimum(np.arange(len(sums[name]) + 1.0), durations[name]),
                classes,
            )
            for name in durations
        }
        return segment_based.auroc(
            scores=scores, ground_truth=truth, audio_durations=durations, segment_length=1.0, max_fpr=0.1
        )

    seconds, result = timed(rounds, call)
    by_class = result[0]
    return seconds, [by_class["mean"]] + [by_class[name] for name in classes]


def csebbs(folder, rounds, clips):
    from sebbs import csebbs as published

    scores, truth, durations, classes = desed(folder, clips)
    lengths = [0.38, 0.42, 0.46, 0.5, 0.54, 0.58, 0.62, 0.66]
    absolute = [0.15 + 0.025 * step for step in range(8)]
    relative = [1.5 + 0.25 * step for step in range(8)]
    limits = [(limit, math.inf) for limit in absolute] + [(math.inf, limit) for limit in relative]

    # tune() of 1.0.2 forgets the classes, so its steps are called one by one
    def call():
        grid = []
        for length in lengths:
            one = published.CSEBBsPredictor(step_filter_length=length, sound_classes=classes)
            changes = one._run_change_detection(scores, classes)
            for limit_absolute, limit_relative in limits:
                setting = published.CSEBBsPredictor(
                    step_filter_length=length,
                    merge_threshold_abs=limit_absolute,
                    merge_threshold_rel=limit_relative,
                    sound_classes=classes,
                )
                grid.append((setting, setting._get_sebbs_from_change_detection(changes, classes)))
        return published.select_best_psds(grid, truth, durations)

    seconds, (best, values) = timed(rounds, call)
    chosen = []
    for name in classes:
        chosen += [best.step_filter_length[name], best.merge_threshold_abs[name], best.merge_threshold_rel[name]]
    return seconds, [values[name] for name in classes] + [value if math.isfinite(value) else -1.0 for value in chosen]


def main():
    task, rounds, folder = sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])
    if task == "psds1":
        seconds, values = psds(folder, rounds, dtc_threshold=0.7, gtc_threshold=0.7, alpha_st=1.0)
    elif task == "psds2":
        seconds, values = psds(
            folder, rounds, dtc_threshold=0.1, gtc_threshold=0.1, cttc_threshold=0.3, alpha_ct=0.5, alpha_st=1.0
        )
    elif task == "mpauc":
        seconds, values = mpauc(folder, rounds)
    elif task.startswith("csebbs"):
        seconds, values = csebbs(folder, rounds, int(task.removeprefix("csebbs") or 0) or None)
    else:
        sys.exit(f"no task {task!r}")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    json.dump({"seconds": seconds, "values": values, "mebibytes": memory}, sys.stdout)


main()
