#!/usr/bin/env bash
# Scores a checkpoint.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

usage="Usage: run_eval.sh [train_code_path] [dataset] [resume_path] [resume_name] [output_path] [--flag=value ...]
  train_code_path  folder that holds train.py and eval.py
  dataset          Cityscapes root, with leftImg8bit/ and gtFine/
  resume_path      folder of the checkpoint, such as that of a run
  resume_name      its file in there, such as best_map.ckpt
  output_path      gets eval_results.txt, mask/, overlay/, contact_sheet.png and log.txt
  --flag=value     any flag of eval.py (python3 eval.py --help)
  --foreground     stay in front and print to the screen; without it: background, process id and log are printed"
read_arguments 5 "$usage" "$@"

check_folders "$1" "$2" "$5"
[[ -f $3/$4 ]] || fail "resume_path and resume_name: expected a checkpoint file, found no '$3/$4'"
start "$1" eval "$5" --dataset="$2" --resume_path="$3" --resume_name="$4" --output_path="$5" ${flags[@]+"${flags[@]}"}
