#!/usr/bin/env bash
# Trains a network.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

usage="Usage: run_train.sh [train_code_path] [dataset] [epochs] [batch_size] [lr] [output_path] [--flag=value ...]
  train_code_path  folder that holds train.py
  dataset          Cityscapes root, with leftImg8bit/ and gtFine/
  output_path      gets log.txt and a folder with the time in its name for this run
  --flag=value     any flag of train.py (python3 train.py --help)
  --foreground     stay in front and print to the screen; without it: background, process id and log are printed"
read_arguments 6 "$usage" "$@"

check_folders "$1" "$2" "$6"
start "$1" train "$6" --dataset="$2" --epochs="$3" --batch_size="$4" --lr="$5" --output_path="$6" ${flags[@]+"${flags[@]}"}
