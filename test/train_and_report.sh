# shellcheck shell=bash
# What the train_*.sh here share. They have the names, the flag and the last lines of Ascend's training guides, and call
# scripts/run_train.sh or scripts/run_distribute_train.sh with what the network's recipe says. Not a program.

# train_and_report full|performance DEVICES ARGUMENT...
train_and_report() {
    local kind=$1 devices=$2 project name data="" model=fast_scnn output="" config="" argument flags=() begin recipe
    local epochs batch_size rate target="Ascend or CPU, default auto"
    shift 2
    project=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
    name=train_${kind}_${devices}p
    [[ $devices == 1 ]] || target="Ascend (default) or CPU; RANK_SIZE: other than $devices devices"
    for argument in "$@"; do
        case $argument in
            -h | --help)
                printf '%s\n' "Usage: $name.sh --data_path=DIR [--model=NAME] [--flag=value ...]" \
                    "  --data_path    data set; Cityscapes: the folder with leftImg8bit/ and gtFine/" \
                    "  --model        fast_scnn (default), icnet, bisenetv1, or --config=FILE with another recipe" \
                    "  --output_path  default test/output/<model>_${kind}_${devices}p" \
                    "  --flag=value   any flag of train.py" \
                    "  DEVICE_TARGET  environment: $target"
                return 0 ;;
            --data_path=*) data=${argument#*=} ;;
            --model=*) model=${argument#*=} ;;
            --config=*) config=${argument#*=} ;;
            --output_path=*) output=${argument#*=} ;;
            *) flags+=("$argument") ;;
        esac
    done
    if [[ -z $data ]]; then
        echo "error: --data_path: expected the folder of the data set, found nothing" >&2
        return 2
    fi
    config=${config:-$project/configs/$model.yaml}
    output=${output:-$project/test/output/${model}_${kind}_${devices}p}
    flags+=("--config=$config")
    export FOREGROUND=1
    if [[ $kind == performance ]]; then
        flags=("--max_steps=100" "--eval_while_train=0" ${flags[@]+"${flags[@]}"})
    fi
    if [[ $devices != 1 ]]; then
        export RANK_SIZE=${RANK_SIZE:-$devices}
        devices=$RANK_SIZE
    fi
    recipe=$(_recipe "$project" "$config") || return
    read -r epochs batch_size rate <<< "$recipe"

    mkdir -p -- "$output"
    begin=$(date +%s)
    if [[ $devices != 1 ]]; then
        "$project/scripts/run_distribute_train.sh" "$project" "$data" "$epochs" "$batch_size" "$rate" "$output" \
            ${flags[@]+"${flags[@]}"}
    else
        "$project/scripts/run_train.sh" "$project" "$data" "$epochs" "$batch_size" "$rate" "$output" \
            "--device_target=${DEVICE_TARGET:-auto}" ${flags[@]+"${flags[@]}"}
    fi | tee "$output/$name.log" || return
    _report "$output/$name.log" "$(($(date +%s) - begin))"
}

# _recipe PROJECT RECIPE: epochs, batch size and learning rate of the recipe. No rate if it has but a base_lr: train.py
# scales that with the batch, which the user's flags and the number of devices change.
_recipe() {
    "${PYTHON:-python3}" - "$@" <<'END'
import sys

project, recipe = sys.argv[1:]
sys.path[0] = project + "/src"
from rtseg.config.recipe import load_config
from rtseg.utils.errors import run_command


def main(_):
    config = load_config(recipe)
    print(config.schedule.epochs, config.data.batch_size, "" if config.optimizer.lr is None else config.optimizer.lr)
    return 0


run_command(main)
END
}

# _report LOG SECONDS: the lines that Ascend's guides end with; 1 if this start has no result.
_report() {
    "${PYTHON:-python3}" - "$@" <<'END'
import json
import re
import sys
from pathlib import Path

log, seconds = sys.argv[1:]
text = Path(log).read_text(encoding="utf-8")
rates = re.findall(r"performance: .* ([\d.]+) images/s$", text, re.MULTILINE)
results = [Path(folder, "result.json") for folder in re.findall(r"; results in (.+)$", text, re.MULTILINE)]
print("------------------ Final result ------------------")
if rates:
    print(f"Final Performance images/sec : {rates[-1]}")
elif results and results[-1].is_file():
    result = json.loads(results[-1].read_text())
    best = result["best_miou"]
    print(f"Final Performance images/sec : {result['images_per_second']}")
    print(f"Final Train Accuracy : {'not evaluated' if best is None else format(100 * best, '.2f')}")
else:
    print("No result: the training ended before its last step")
print(f"E2E Training Duration sec : {seconds}")
sys.exit(not (rates or results and results[-1].is_file()))
END
}
