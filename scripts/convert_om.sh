#!/usr/bin/env bash
# Converts an exported .onnx or .air, with its metadata next to it, to .om by CANN's atc.
#   bash scripts/convert_om.sh [model] [soc_version] [--aipp=0|1] [--precision_mode=...] [--output=...] [any flag of atc]
# soc_version: "Ascend" and the name in `npu-smi info`; Ascend310P3 by default, Ascend310 for the older chip.
# --input_shape=x:8,3,1024,2048 replaces the metadata's, for a model exported with --dynamic_batch or --dynamic_size;
# the .om is called <model>_8x3x1024x2048.om, unless --output names it.
# --fusion_switch_file=ascend310_infer/fusion_switch.cfg turns all fusions off that can be.
# --aipp=1 lets the NPU normalize a float32 model's input in hardware: the .om then takes RGB bytes, NHWC.
set -euo pipefail
unset CDPATH  # with it cd may go elsewhere, and prints where

usage() {
  sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
  exit "${1:-2}"
}

project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-python3}
positions=() flags=() aipp=0 output='' input_shape=''
for argument in "$@"; do
  case $argument in
    -h | --help) usage 0 2>&1 ;;
    --aipp=0 | --aipp=1) aipp=${argument#*=} ;;
    --output=?*) output=${argument#*=} ;;
    --input_shape=?*) input_shape=${argument#*=} ;;
    --*=*) flags+=("$argument") ;;
    --*) usage ;;
    *) positions+=("$argument") ;;
  esac
done
[[ ${#positions[@]} -ge 1 && ${#positions[@]} -le 2 ]] || usage
model=${positions[0]}
soc_version=${positions[1]:-Ascend310P3}

case $model in
  *.onnx) framework=5 ;;
  *.air) framework=1 ;;
  *) echo "error: expected an .onnx or .air model, found $model; atc takes no .mindir: export.py --from_mindir" >&2
     exit 2 ;;
esac
if [[ ! -f $model ]]; then
  echo "error: no model file $model" >&2
  exit 3
fi

suffix=
if [[ -n $input_shape ]]; then  # models of one name share their metadata, which has the shape
  lengths=${input_shape##*:}
  suffix=_${lengths//,/x}
fi
[[ $aipp == 0 ]] || suffix+=_aipp
output=${output:-${model%.*}$suffix}
output=${output%.om}
# Writes the .om's metadata, and with AIPP its configuration, and prints the description of the model's input.
model_path=$(realpath "$model") om_path=$(realpath -m "$output.om")
input=$(PYTHONPATH=$project/src "$python" -m rtseg.export.atc "$model_path" "$om_path" "$aipp" \
  "$input_shape")
command=(atc "--framework=$framework" "--model=$model" "--output=$output" "--soc_version=$soc_version")
[[ $framework != 5 ]] || command+=("--input_shape=${input#* }" "--input_format=${input%% *}")
[[ $aipp == 0 ]] || command+=("--insert_op_conf=$output.aipp.cfg")
command+=(${flags[@]+"${flags[@]}"})
printf '%q ' "${command[@]}"
echo
if ! command -v atc > /dev/null; then
  echo "error: atc not found; install the CANN toolkit and run: source <CANN>/set_env.sh" >&2
  exit 1
fi
exec "${command[@]}"
