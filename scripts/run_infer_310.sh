#!/usr/bin/env bash
# From an exported model to its score: builds the C++ program, preprocesses, infers, scores.
#  run_infer_310.sh [model_path] [data_path] [out_image_path] [image_height] [image_width] [device_id] [--flag=value...]
# model_path: .mindir, .ms, .om or .onnx, its metadata (.json) next to it; data_path: root of the data set;
# out_image_path: folder for coloured masks; image_height, image_width: the model's, or what one that leaves them open
# (--dynamic_size=1) shall take. Flags go to the stage that knows them: --split --input_type --config --mean --std
# --num_workers (preprocess.py), --device_type --fusion_switch_path --precision --threads --requests --workers --warmup
# (C++ program), --output_type --align_corners --save_mask (cal_mIoU.py), --dataset_config (preprocess.py and
# cal_mIoU.py), -D... (CMake). A model without metadata needs --mean and --std, unless they are the recipe's. PYTHON
# names the interpreter. Logs and results go to the working folder.
set -euo pipefail
unset CDPATH  # with it cd may go elsewhere, and prints where

usage() {
  sed -n '2,10s/^# \{0,1\}//p' "$0" >&2
  exit "${1:-2}"
}

project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export PYTHON=${PYTHON:-python3}
positions=() build_flags=() preprocess_flags=() infer_flags=() score_flags=()
for argument in "$@"; do
  case $argument in
    -h | --help) usage 0 2>&1 ;;
    --split=* | --input_type=* | --config=* | --mean=* | --std=* | --num_workers=*) preprocess_flags+=("$argument") ;;
    --device_type=* | --fusion_switch_path=* | --precision=* | --threads=* | --requests=* | --workers=* | \
      --warmup=*) infer_flags+=("$argument") ;;
    --dataset_config=*) preprocess_flags+=("$argument") score_flags+=("$argument") ;;
    --output_type=* | --align_corners=* | --save_mask=*) score_flags+=("$argument") ;;
    -D*) build_flags+=("$argument") ;;
    -*) echo "error: unknown argument $argument" >&2; usage ;;
    *) positions+=("$argument") ;;
  esac
done
[[ ${#positions[@]} -eq 5 || ${#positions[@]} -eq 6 ]] || usage
model=${positions[0]} data=${positions[1]} masks=${positions[2]} height=${positions[3]} width=${positions[4]}
device_id=${positions[5]:-0}
if [[ ! -f $model ]]; then
  echo "error: no model file $model; export.py writes one" >&2
  exit 3
fi

# Runs a command with its output in <stage>.log; if it fails, shows the log's end and exits with its code.
stage() {
  local name=$1 code=0
  shift
  echo "$name: $name.log"
  "$@" > "$name.log" 2>&1 || code=$?
  if [[ $code -ne 0 ]]; then
    echo "error: $name failed with exit code $code; the end of $name.log:" >&2
    tail -n 20 "$name.log" >&2
    exit "$code"
  fi
}

if [[ $model == *.mindir && -z ${LITE_HOME:-} ]]; then
  onnx=${model%.mindir}.onnx
  if [[ ! -f $onnx || $model -nt $onnx ]]; then
    echo "LITE_HOME is not set: converting $model to $onnx, once, to run it on the CPU"
    stage convert "$PYTHON" "$project/export.py" "--from_mindir=$model" --file_format=ONNX
  else
    echo "LITE_HOME is not set: using $onnx, converted earlier, to run it on the CPU"
  fi
  model=$onnx
fi
metadata=${model%.*}.json
size=("--image_height=$height" "--image_width=$width")
if [[ -f $metadata ]]; then
  preprocess_flags+=("--model_card=$metadata")
  infer_flags+=("${size[@]}")  # of a model that leaves it open
fi

stage build bash "$project/ascend310_infer/build.sh" ${build_flags[@]+"${build_flags[@]}"}
program=$(tail -n 1 build.log)
[[ ! -d result_Files ]] || find result_Files/ -maxdepth 1 -name '*_img_*.bin' -delete  # of an earlier run
stage preprocess "$PYTHON" "$project/preprocess.py" "--image_path=$data" --out_dir=preprocess_Result \
  "${size[@]}" ${preprocess_flags[@]+"${preprocess_flags[@]}"}
stage infer "$program" "--model_path=$model" --dataset_path=preprocess_Result/img_data --result_path=result_Files \
  --time_path=time_Result "--device_id=$device_id" ${infer_flags[@]+"${infer_flags[@]}"}
stage acc "$PYTHON" "$project/cal_mIoU.py" --label_path=preprocess_Result/label --output_path=result_Files \
  "${size[@]}" --save_mask=1 "--mask_result_path=$masks" ${score_flags[@]+"${score_flags[@]}"}
cat acc.log
