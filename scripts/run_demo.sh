#!/usr/bin/env bash
# From nothing to a scored model on a CPU: own virtual environment, synthetic images, training, evaluation, and the same
# score once more from the exported model through the C++ program.
set -euo pipefail
# shellcheck source=scripts/venv.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/venv.sh"

usage="Usage: run_demo.sh [output_path]
  output_path    where everything goes, default demo_output in the project
  DEMO_VENV=DIR  virtual environment, default .venv in the project; what it lacks is installed
  DEMO_QUICK=1   a tiny run that only shows that everything works"
if [[ ${1:-} == -h || ${1:-} == --help ]]; then
    echo "$usage"
    exit 0
elif (( $# > 1 )) || [[ ${1:-} == -* ]]; then
    echo "$usage" >&2
    exit 2
fi

if [[ ${DEMO_QUICK:-0} == 1 ]]; then
    height=64 width=128 train=4 val=2 epochs=2 batch_size=2 crop=64,128
else
    height=256 width=512 train=96 val=8 epochs=16 batch_size=4 crop=192,384
fi
lr=0.08

output=${1:-$project/demo_output}
mkdir -p -- "$output"
output=$(cd -- "$output" && pwd)
venv=${DEMO_VENV:-$project/.venv}
data=$output/data_${height}x${width}

echo "== 1/5 software"
prepare_venv "$venv" "$project/requirements.txt"
PYTHON=$(cd -- "$venv/bin" && pwd)/python
export PYTHON
export PYTHONPATH=$project/src${PYTHONPATH:+:$PYTHONPATH}

echo "== 2/5 images: drawn by a program, neither photographs nor Cityscapes"
(cd -- "$project" && "$PYTHON" -m rtseg.synthetic.generator --output "$data" --train "$train" --val "$val" --test 0 \
    --height "$height" --width "$width")

echo "== 3/5 training"
SECONDS=0
"$project/scripts/run_train.sh" "$project" "$data" "$epochs" "$batch_size" "$lr" "$output/train" --foreground \
    --variant=tramac --aux=1 --bn_momentum=0.9 --dropout=0 --base_size="$height" --crop_size="$crop" \
    --scale_range=0.75,1.25 --blur_probability=0 --color_jitter=0.2 --warmup_epochs=1
runs=("$output"/train/*/)
run=${runs[-1]%/}
echo "training took $SECONDS s"

echo "== 4/5 evaluation of the best checkpoint"
"$project/scripts/run_eval.sh" "$project" "$data" "$run" best_map.ckpt "$output/eval" --foreground \
    --config="$run/config.yaml"

best=$(sed -n 's/^.*update best result: //p' "$run/train.log" | tail -n 1)
score=$(awk '$1 == "mIoU" { print $2 }' "$output/eval/eval_results.txt")

echo "== 5/5 export and C++ inference"
(cd -- "$project" && "$PYTHON" export.py --config="$run/config.yaml" --ckpt_file="$run/best_map.ckpt" \
    --file_name="$output/model" --file_format=MINDIR --input_type=uint8 --output_type=class_map \
    --image_height="$height" --image_width="$width")
mkdir -p -- "$output/infer"
(cd -- "$output/infer" && BUILD_DIR=${BUILD_DIR:-$output/infer/build} "$project/scripts/run_infer_310.sh" \
    "$output/model.mindir" "$data" "$output/infer/mask" "$height" "$width")
cpp_score=$(awk '$1 == "mIoU" { print $2 }' "$output/infer/acc.log")

echo "These scores on synthetic images say that the software works, and nothing about real streets."
echo "mIoU of the best checkpoint: $best while training, $score by eval.py, $cpp_score through C++"
if [[ $best != "$score" ]] || ! awk -v a="$score" -v b="$cpp_score" 'BEGIN { exit !(a - b <= 0.1 && b - a <= 0.1) }'; then
    echo "error: expected the first two to be equal and the third within 0.1" >&2
    exit 1
fi
echo "Image to look at (image, prediction, label, errors): $output/eval/contact_sheet.png"
