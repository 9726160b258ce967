#!/usr/bin/env bash
# Does LiftedGAN see the person if D_S learns faster, M is held closer, the ellipsoid is left out?
# Eight short runs on heads, four at once, each for so many seconds on one GPU; the second four go on
# from the first one's networks. What they know of val heads is measured (tools/measure_liftedgan.py).
#     bash tools/liftedgan_person.sh FOLDER [SECONDS]
set -euo pipefail
folder=$(realpath -m "$1") seconds=${2:-110} tools=$(dirname "$(realpath "$0")")
fit() { # NAME KEY=VALUE ...
  mkdir -p "$folder/$1" && cd "$folder/$1"
  timeout -s TERM "$seconds" gan3d-bench fit --method liftedgan trainer.threads=1 trainer.preview_every=0 "${@:2}" >log 2>&1 ||
    [ $? -eq 124 ]
}
measure() { python "$tools/measure_liftedgan.py" "$folder/$1"/runs/liftedgan/heads-64/* --heads 32 --out "$folder/$1.json"; }
fit preset &
fit fast-depth lr_depth=1 &
fit fast-depth-no-ellipsoid lr_depth=1 warmup.steps=0 &
fit faster-depth-keep-10 lr_depth=0.3 losses.keep=10 &
wait
on=("start=$(echo "$folder"/preset/runs/liftedgan/heads-64/*)" warmup.steps=0 lr_depth=1)
fit then-fast-depth "${on[@]}" &
fit then-keep-10 "${on[@]}" losses.keep=10 &
fit then-keep-10-smooth-0.03 "${on[@]}" losses.keep=10 losses.smooth=0.03 &
fit then-keep-30-perturbation-4 "${on[@]}" losses.keep=30 losses.perturbation=4 &
wait
for name in "$folder"/*/; do measure "$(basename "$name")" & done
wait
