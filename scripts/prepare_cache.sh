#!/usr/bin/env bash
# Builds the dataset cache that training reads instead of the image files.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

usage="Usage: prepare_cache.sh [dataset] [prepared_cache] [--flag=value ...]
  dataset             root of the data set, for Cityscapes the folder with leftImg8bit/ and gtFine/
  prepared_cache      folder for the cache; one that is there is checked, completed, and rebuilt where damaged
  --split=S           train, val or trainval (both, the default)
  --dataset_config=D  what the data set is: a name in configs/datasets/ or a YAML file, default cityscapes
  --num_workers=N     threads, default 2
All of Cityscapes takes 25.0 GB for train and 4.2 GB for val. Then train with --prepared_cache=<prepared_cache>."
read_arguments 2 "$usage" "$@"

project=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
exec "$PYTHON" -c 'import runpy, sys
sys.path[0] = sys.argv.pop(1) + "/src"
runpy.run_module("rtseg.data.cache", run_name="__main__", alter_sys=True)' \
    "$project" --dataset="$1" --prepared_cache="$2" ${flags[@]+"${flags[@]}"}
