# shellcheck shell=bash
# What the train_*.sh here share. They have the names, the flag and the last lines of Ascend's training guides, and call
# scripts/run_train.sh or scripts/run_distribute_train.sh with what the network's recipe says. Not a program.

# train_and_report full|performance DEVICES ARGUMENT...
train_and_report() {
    local kind=$1 devices=$2 project name data="" model=fast_scnn output="" config="" argument flags=() begin recipe
    shift 2
    project=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
    name=train_${kind}_${devices}p
    for argument in "$@"; do
        case $argument in
            -h | --help)
                printf '%s\n' "Usage: $name.sh --data_path=DIR [--model=NAME] [--flag=value ...]" \
                    "  --data_path    data set; Cityscapes: the folder with leftImg8bit/ and gtFine/" \
                    "  --model        fast_scnn (default), icnet, bisenetv1, or --config=FILE with another recipe" \
                    "  --output_path  default test/output/<model>_${kind}_${devices}p" \
                    "  --flag=value   any flag of train.py" \
                    "  DEVICE_TARGET  environment: Ascend or CPU, default auto; RANK_SIZE: other than $devices devices"
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
        flags=("--max_steps=100" "--eval_while_train=0" "${flags[@]}")
    fi
    if (( devices > 1 )); then
        export RANK_SIZE=${RANK_SIZE:-$devices}
        devices=$RANK_SIZE
    fi
    recipe=$(_recipe "$project" "$config" "$devices") || return
    read -ra recipe <<< "$recipe"  # epochs, batch size, learning rate

    mkdir -p -- "$output"
    begin=$(date +%s)
    if (( devices > 1 )); then
        "$project/scripts/run_distribute_train.sh" "$project" "$data" "${recipe[@]}" "$output" "${flags[@]}"
    else
        "$project/scripts/run_train.sh" "$project" "$data" "${recipe[@]}" "$output" \
            "--device_target=${DEVICE_TARGET:-auto}" "${flags[@]}"
    fi | tee "$output/$name.log" || return
    _report "$output" "$output/$name.log" "$(($(date +%s) - begin))"
}

# _recipe PROJECT RECIPE DEVICES: epochs, batch size and learning rate of the recipe for so many devices.
_recipe() {
    "${PYTHON:-python3}" - "$@" <<'END'
import sys

project, recipe, devices = sys.argv[1:]
sys.path[0] = project + "/src"
from rtseg.config.recipe import load_config
from rtseg.utils.errors import run_command


def main(_):
    processes = {"is_distributed": "1", "group_size": devices} if devices != "1" else {}
    config = load_config(recipe, processes)
    print(config.schedule.epochs, config.data.batch_size, config.learning_rate)
    return 0


run_command(main)
END
}

# _report OUTPUT LOG SECONDS: the lines that Ascend's guides end with.
_report() {
    "${PYTHON:-python3}" - "$@" <<'END'
import json
import re
import sys
from pathlib import Path

output, log, seconds = sys.argv[1:]
rates = re.findall(r"performance: .* ([\d.]+) images/s$", Path(log).read_text(encoding="utf-8"), re.MULTILINE)
results = sorted(Path(output).glob("*/result.json"))
result = json.loads(results[-1].read_text()) if results and not rates else {}
rate = rates[-1] if rates else result.get("images_per_second")
print("------------------ Final result ------------------")
print(f"Final Performance images/sec : {rate}")
if not rates:
    best = result.get("best_miou")
    print(f"Final Train Accuracy : {'not evaluated' if best is None else format(100 * best, '.2f')}")
print(f"E2E Training Duration sec : {seconds}")
END
}
