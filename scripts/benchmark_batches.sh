#!/usr/bin/env bash
# Images per second of a model at several batch sizes, with every engine that is there.
#  benchmark_batches.sh [checkpoint or exported model] [batches, default 1,4,8,16] [--runs=N] [--flag=value ...]
# A checkpoint is exported for each batch: ONNX for OpenVINO, MINDIR for MindSpore Lite (LITE_HOME), .om for AscendCL
# (atc; SOC_VERSION is the chip, Ascend310P3 by default). An exported model runs with its own engine; its batch must be
# open (--dynamic_batch=1) or the only one asked for. The C++ program runs each --runs times (20) on zeros: inference
# only, with copies to and from the device. --device_type, --device_id, --precision, --threads and --requests go to the
# program, -D... to CMake, other flags, such as --config=... of the run, to export.py, or with an exported model to the
# program, such as --image_height=... of one that leaves its size open. PYTHON names the interpreter.
set -euo pipefail
unset CDPATH  # with it cd may go elsewhere, and prints where

usage() {
  sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
  exit "${1:-2}"
}

project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export PYTHON=${PYTHON:-python3}
runs=20 positions=() export_flags=() build_flags=() run_flags=()
for argument in "$@"; do
  case $argument in
    -h | --help) usage 0 2>&1 ;;
    --runs=*) runs=${argument#*=} ;;
    --device_type=* | --device_id=* | --precision=* | --threads=* | --requests=*) run_flags+=("$argument") ;;
    -D*) build_flags+=("$argument") ;;
    --*=*) export_flags+=("$argument") ;;
    -*) usage ;;
    *) positions+=("$argument") ;;
  esac
done
[[ ${#positions[@]} -ge 1 && ${#positions[@]} -le 2 && $runs =~ ^[1-9][0-9]*$ ]] || usage
source=${positions[0]} batches=${positions[1]:-1,4,8,16}
if [[ ! $batches =~ ^[1-9][0-9]*(,[1-9][0-9]*)*$ ]]; then
  echo "error: expected batches such as 1,4,8,16, found '$batches'" >&2
  exit 2
fi
if [[ ! -f $source ]]; then
  echo "error: no file $source; expected a checkpoint or an exported model" >&2
  exit 3
fi

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# Runs a command whose output is of interest only if it fails.
quietly() {
  local code=0
  "$@" > "$folder/log" 2>&1 || code=$?
  if [[ $code -ne 0 ]]; then
    printf 'error: exit code %s of: %s\n' "$code" "$*" >&2
    tail -n 20 "$folder/log" >&2
    exit "$code"
  fi
}

quietly bash "$project/ascend310_infer/build.sh" ${build_flags[@]+"${build_flags[@]}"}
program=$(tail -n 1 "$folder/log")
engines=$(sed -n 's/^-- runtimes: //p' "$folder/log")

# measure MODEL [FLAG...]: runs a model and prints a line of the table from the program's report.
measure() {
  quietly "$program" "--model_path=$1" "${@:2}" "--loop=$runs" "--time_path=$folder" "--report_json=$folder/report.json" \
    ${run_flags[@]+"${run_flags[@]}"}
  "$PYTHON" - "$folder/report.json" << 'END'
import json
import sys
with open(sys.argv[1], encoding="utf-8") as file:
    report = json.load(file)
print(f"{report['runtime']:<28} {report['batch']:>5} {report['inference_images_per_second']:>9.2f} "
      f"{report['run_latency_ms']['p50']:>12.1f} {report['requests']:>9}", flush=True)
END
}

# export_model BATCH FORMAT: the exported checkpoint's path without its suffix is $folder/model_BATCH.
export_model() {
  quietly "$PYTHON" "$project/export.py" "--ckpt_file=$source" "--file_name=$folder/model_$1" "--file_format=$2" \
    --input_type=uint8 --output_type=head_logits ${export_flags[@]+"${export_flags[@]}"} "--batch_size=$1"
}

printf '%-28s %5s %9s %12s %9s\n' engine batch images/s "run, ms" requests
case $source in
  *.onnx | *.xml | *.mindir | *.ms | *.om)
    for batch in ${batches//,/ }; do
      measure "$source" "--batch_size=$batch" ${export_flags[@]+"${export_flags[@]}"}
    done
    exit
    ;;
esac
for batch in ${batches//,/ }; do
  model=$folder/model_$batch
  if [[ $engines == *openvino* || $engines == *acl* ]]; then
    export_model "$batch" ONNX
  fi
  if [[ $engines == *openvino* ]]; then
    measure "$model.onnx"
  fi
  if [[ $engines == *lite* ]]; then
    export_model "$batch" MINDIR
    measure "$model.mindir"
  fi
  if [[ $engines == *acl* ]]; then
    if command -v atc > /dev/null; then
      quietly bash "$project/scripts/convert_om.sh" "$model.onnx" "${SOC_VERSION:-Ascend310P3}"
      measure "$model.om"
    else
      echo "AscendCL left out: no atc in PATH to convert the model; source CANN's set_env.sh" >&2
    fi
  fi
  rm -f "$folder/model_$batch".*
done
