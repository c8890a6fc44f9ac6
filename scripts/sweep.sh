#!/usr/bin/env bash
# Trains with every combination of learning rate, loss scale and AMP level, and prints a table of the scores.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

usage="Usage: sweep.sh [train_code_path] [dataset] [epochs] [batch_size] [output_path] [--flag=value ...]
  train_code_path  folder that holds train.py
  dataset          Cityscapes root, with leftImg8bit/ and gtFine/
  output_path      gets a folder for each combination, and the table: sweep.csv
  --lr=X,...           learning rates; needed
  --loss_scale=X,...   loss scales, default 1
  --amp_level=X,...    AMP levels, default O0
  --flag=value         any other flag of train.py (python3 train.py --help)
One training after the other, in front. A combination whose result.json is there is not trained again. One that fails,
such as by a loss that is not finite, has its exit code in the table; the others go on, and the exit code is 1."
read_arguments 5 "$usage" "$@"
check_folders "$1" "$2" "$5"

rates=() scales=(1) levels=(O0) others=()
for flag in ${flags[@]+"${flags[@]}"}; do
    case $flag in
        --lr=*) IFS=, read -ra rates <<< "${flag#*=}" ;;
        --loss_scale=*) IFS=, read -ra scales <<< "${flag#*=}" ;;
        --amp_level=*) IFS=, read -ra levels <<< "${flag#*=}" ;;
        *) others+=("$flag") ;;
    esac
done
(( ${#rates[@]} )) || fail "--lr: expected the learning rates to try, such as --lr=0.01,0.045, found none"
settings=("--dataset=$2" "--epochs=$3" "--batch_size=$4" --resume_path=auto ${others[@]+"${others[@]}"})

combinations=()  # all are checked before the first is trained
for rate in "${rates[@]}"; do
    for scale in "${scales[@]}"; do
        for level in "${levels[@]}"; do
            check_arguments "$1" train "${settings[@]}" "--lr=$rate" "--loss_scale=$scale" "--amp_level=$level"
            combinations+=("$rate $scale $level")
        done
    done
done

trap 'echo "the sweep was stopped; the same command goes on with it" >&2; exit 1' INT TERM
code=0
for combination in "${combinations[@]}"; do
    read -r rate scale level <<< "$combination"
    folder=$5/lr_${rate}_scale_${scale}_$level
    results=("$folder"/*/result.json)
    if [[ -e ${results[0]} ]]; then
        # Without its exit code it would be missing in the table: the sweep was killed when this training had ended.
        [[ -e $folder/exit_code ]] || echo 0 > "$folder/exit_code"
        continue
    fi
    echo "learning rate $rate, loss scale $scale, AMP level $level: $folder/log.txt"
    mkdir -p -- "$folder"
    rm -f -- "$folder/exit_code"  # of an earlier start
    exit_code=0
    "$PYTHON" "$1/train.py" "${settings[@]}" "--lr=$rate" "--loss_scale=$scale" "--amp_level=$level" \
        "--output_path=$folder" > "$folder/log.txt" 2>&1 || exit_code=$?
    echo "$exit_code" > "$folder/exit_code"
    if (( exit_code )); then
        code=1
        tail -n 1 -- "$folder/log.txt"
    fi
done
"$PYTHON" - "$5" <<'END'
import csv
import json
import sys
from pathlib import Path

HEADER = ("learning rate", "loss scale", "AMP level", "final mIoU", "best mIoU", "epoch", "images/s", "exit code")


def per_cent(share):
    return "-" if share is None else f"{100 * share:.2f}"


rows = []
for exit_code in Path(sys.argv[1]).glob("lr_*_scale_*_O?/exit_code"):  # a sweep that was killed left one without
    folder = exit_code.parent
    _, rate, _, scale, level = folder.name.split("_")
    row = [rate, scale, level, "-", "-", "-", "-", exit_code.read_text().strip()]
    results = sorted(folder.glob("*/result.json"))
    if results:
        result = json.loads(results[-1].read_text())
        row[3:7] = [per_cent(result["last_miou"]), per_cent(result["best_miou"]), result["best_epoch"] or "-",
                    result["images_per_second"] or "-"]
    rows.append([str(value) for value in row])
rows.sort(key=lambda row: (float(row[0]), row[1], row[2]))
with open(Path(sys.argv[1]) / "sweep.csv", "w", newline="", encoding="utf-8") as file:
    csv.writer(file, lineterminator="\n").writerows([HEADER, *rows])
widths = [max(map(len, column)) for column in zip(HEADER, *rows)]
for row in (HEADER, *rows):
    print("  ".join(value.rjust(width) for value, width in zip(row, widths)))
END
exit "$code"
