#!/usr/bin/env bash
# Measures the training of a network over 100 steps, on one device: train_performance_1p.sh --data_path=DIR [--model=NAME] [--flag=value ...]
set -euo pipefail
# shellcheck source=test/train_and_report.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/train_and_report.sh"
train_and_report performance 1 "$@"
