# shellcheck shell=bash
# What the scripts that start a Python program share. Not a program: they source it.
#
# PYTHON      the interpreter, default python3
# FOREGROUND  1: stay in front, as with --foreground

unset CDPATH  # with it cd may go elsewhere, and prints where
PYTHON=${PYTHON:-python3}
if [[ $PYTHON == */* && -d $(dirname -- "$PYTHON") ]]; then  # scripts change folder; realpath would leave a venv
    PYTHON=$(cd -- "$(dirname -- "$PYTHON")" && pwd)/${PYTHON##*/}
fi
foreground=${FOREGROUND:-0}
flags=()

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 2
}

# read_arguments COUNT USAGE "$@": ends with the usage text unless there are COUNT positions and then flags only, or if
# there is no interpreter. The flags for the program go to the array `flags`, to be used as ${flags[@]+"${flags[@]}"}: to
# bash before 4.4, such as that of CentOS 7, an empty array is an unbound variable.
read_arguments() {
    local count=$1 usage=$2 argument given
    shift 2
    if [[ ${1:-} == -h || ${1:-} == --help ]]; then
        printf '%s\n' "$usage"
        exit 0
    fi
    given=$#
    for argument in "${@:1:count}"; do
        if [[ $argument == --* ]]; then
            given=0  # a flag in a position's place: a position is missing
        fi
    done
    if (( given < count )); then
        printf '%s\n' "$usage" >&2
        exit 2
    fi
    for argument in "${@:count+1}"; do
        case $argument in
            --foreground) foreground=1 ;;
            --*) flags+=("$argument") ;;
            *) fail "expected --flag=value after the $count positions, found '$argument'" ;;
        esac
    done
    command -v "$PYTHON" > /dev/null || fail "PYTHON: expected a Python interpreter, found no '$PYTHON'"
}

# check_folders CODE DATASET OUTPUT: they are what they should be; OUTPUT is made if it is not there.
check_folders() {
    [[ -f $1/train.py ]] || fail "train_code_path: expected the folder that holds train.py, found '$1'"
    [[ -d $2 ]] || fail "dataset: expected the folder that holds leftImg8bit/ and gtFine/, found no folder '$2'"
    mkdir -p -- "$3" && [[ -w $3 ]] || fail "output_path: expected a folder that can be written, found '$3'"
}

# start CODE PROGRAM OUTPUT ARGUMENT...: runs CODE/PROGRAM.py with the arguments, in front, or in the background with what
# it prints in OUTPUT/log.txt. Wrong arguments are found before that.
start() {
    local code=$1 program=$2 log
    log=$(cd -- "$3" && pwd)/log.txt
    shift 3
    check_arguments "$code" "$program" "$@"
    run_logged "$log" "$PYTHON" "$code/$program.py" "$@"
}

# run_logged LOG COMMAND...: ends by becoming the command, or runs it in the background with what it prints in LOG.
run_logged() {
    local log=$1
    shift
    if [[ $foreground == 1 ]]; then
        exec "$@"
    fi
    nohup "$@" > "$log" 2>&1 < /dev/null &
    echo "process id: $!"
    echo "log: $log"
}

# check_arguments CODE PROGRAM ARGUMENT...: reads the arguments as the program does, without waiting for MindSpore to be
# imported.
check_arguments() {
    "$PYTHON" - "$@" <<'END'
import sys

sys.path[0] = sys.argv[1] + "/src"
from rtseg.cli.configuration import read_configuration
from rtseg.runtime.device import prepare_environment
from rtseg.utils.errors import run_command


def main(_):
    read_configuration(sys.argv[2], "", argv=sys.argv[3:])
    prepare_environment()  # which ends here if MindSpore is not installed
    return 0


run_command(main)
END
}
