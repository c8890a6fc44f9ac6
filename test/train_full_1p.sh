#!/usr/bin/env bash
# Trains a network as its recipe says, on one device: train_full_1p.sh --data_path=DIR [--model=NAME] [--flag=value ...]
set -euo pipefail
# shellcheck source=test/train_and_report.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/train_and_report.sh"
train_and_report full 1 "$@"
