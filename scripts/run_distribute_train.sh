#!/usr/bin/env bash
# Trains a network with one process per device, on one server or several.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

usage="Usage: run_distribute_train.sh [train_code_path] [dataset] [epochs] [batch_size] [lr] [output_path] [rank_table_file] [--flag=value ...]
  train_code_path  folder that holds train.py
  dataset          Cityscapes root, with leftImg8bit/ and gtFine/
  batch_size       images per step and process
  output_path      gets device<i>/log.txt of each device, log.txt, and a folder with the time in its name for this run;
                   with --node_rank=K the logs are in node<K>/ of it
  rank_table_file  optional; which devices there are: a file, such as scripts/make_rank_table.py writes, or ModelArts'
                   folder; - to start without one, as msrun does. Default: scripts/hccl_<RANK_SIZE>p_*.json if there,
                   else -
  RANK_SIZE=N      environment: processes on all servers together, default 8 on each
  DEVICE_TARGET=T  environment: Ascend (default), or CPU: as many processes that share this processor
  --flag=value     any flag of train.py (python3 train.py --help), or:
  --node_num=N     number of servers, default 1, or what the rank table says; start the script on each of them
  --node_rank=K    number of this server, 0 to N-1; needed when there are several
  --master_addr=A  without a rank table: address of server 0, the same on all; needed when there are several
  --master_port=P  without a rank table: port of server 0; default: one that is free, or 8118 with several servers
  --bind_cores=C   cores of the processes on this server: auto (default, also by BIND_CORES=C in the environment: an even
                   split on devices, none on the CPU), on, off, or a list for each process, such as 0-11:12-23
  --stop_seconds=S after Ctrl-C, or SIGTERM to the process id: time for the ranks to finish their step and save,
                   default 60; once more ends them at once
  --rank_table_seconds=S  how long to wait for a rank table that a platform has not completed, default 300
  --dry_run        only print what each process would get: environment, cores, command and log
  --foreground     stay in front and print what rank 0 prints; without it: background, process id and log are printed
Kept if the environment has them, else set for each process: HCCL_CONNECT_TIMEOUT=600, HCCL_EXEC_TIMEOUT=1836 (seconds,
Ascend), MS_COMPILER_CACHE_ENABLE=0 (1, with --eval_while_train=0: graphs are kept in compile_cache/ of the output path).
The exit code (in front) is that of the process that failed first: its rank and the end of its log (on Ascend also of
CANN's log of it) are printed, and the others on this server are ended. Other servers notice by themselves: on the CPU
within five minutes, on Ascend when a collective times out.
1 server with 8 devices:
  run_distribute_train.sh . /data 1000 2 0.045 /out
  run_distribute_train.sh . /data 1000 2 0.045 /out rank_table_8.json
4 servers with 8 devices each, on server K = 0, 1, 2, 3:
  run_distribute_train.sh . /data 1000 2 0.045 /out - --node_num=4 --node_rank=K --master_addr=10.0.0.1
  run_distribute_train.sh . /data 1000 2 0.045 /out rank_table_32.json --node_rank=K"

# The rank table that is meant when none is given: that of hccl_tools.py for this number of devices, if it lies here.
default_rank_table() {
    local found
    found=("$(dirname -- "${BASH_SOURCE[0]}")/hccl_${RANK_SIZE:-8}p_"*.json)
    if [[ ${DEVICE_TARGET:-Ascend} != Ascend || ! -e ${found[0]} ]]; then
        echo -
        return
    fi
    (( ${#found[@]} == 1 )) || fail "rank_table_file: expected one of these to be given: ${found[*]}"
    printf 'rank table: %s\n' "${found[0]}" >&2
    printf '%s\n' "${found[0]}"
}

arguments=("$@")
if (( $# >= 6 )) && [[ ${7:---} == --* ]]; then  # the six positions of the published script
    table=$(default_rank_table)
    arguments=("${@:1:6}" "$table" "${@:7}")
fi
read_arguments 7 "$usage" ${arguments[@]+"${arguments[@]}"}
set -- "${arguments[@]}"

script_flags=("--script=$1/train.py" "--output_path=$6" "--rank_table=$7")
train_flags=("--dataset=$2" "--epochs=$3" "--batch_size=$4" "--lr=$5" "--output_path=$6")
device_target=${DEVICE_TARGET:-Ascend} logs=$6 dry_run=0
for flag in ${flags[@]+"${flags[@]}"}; do
    case $flag in
        --dry_run) dry_run=1 ;;
        --device_target=*) device_target=${flag#*=} ;;
        --node_rank=*)
            script_flags+=("$flag")
            logs=$6/node${flag#*=} ;;
        --node_num=* | --master_addr=* | --master_port=* | --stop_seconds=* | --rank_table_seconds=* | \
            --bind_cores=*)
            script_flags+=("$flag") ;;
        --rank=* | --group_size=* | --is_distributed=* | --device_id=*)
            fail "${flag%%=*}: expected it to be left out, this script gives every process its own" ;;
        *) train_flags+=("$flag") ;;
    esac
done
train_flags+=("--device_target=$device_target")

check_folders "$1" "$2" "$6"
check_arguments "$1" train "${train_flags[@]}" --is_distributed=1
launch=("$PYTHON" "$(dirname -- "${BASH_SOURCE[0]}")/../src/rtseg/launch/launcher.py")
arguments=("${script_flags[@]}" "--device_target=$device_target" -- "${train_flags[@]}")
if [[ $dry_run == 1 ]]; then
    exec "${launch[@]}" --dry_run "${arguments[@]}"
fi
"${launch[@]}" --dry_run "${arguments[@]}" > /dev/null  # finds what is wrong before anything starts
mkdir -p -- "$logs"
run_logged "$(cd -- "$logs" && pwd)/log.txt" "${launch[@]}" "${arguments[@]}"
