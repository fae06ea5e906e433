#!/bin/bash
# Keeps copies of folders, a day, a week and a month long.
set -euo pipefail

target=${BACKUP_TARGET:-/srv/backup}
kept=7
verbose=

usage() {
    echo "usage: backup.sh [-k COUNT] [-v] FOLDER..." >&2
    exit 2
}

say() {
    if [ -n "$verbose" ]; then
        echo "$@" >&2
    fi
}

while getopts "k:vh" option; do
    case $option in
        k)
            kept=$OPTARG
            ;;
        v) verbose=yes ;;
        h | *) usage ;;
    esac
done
shift $((OPTIND - 1))

if [ $# -eq 0 ]; then
    usage
elif [ ! -d "$target" ]; then
    echo "there is no $target: if it is a disk, mount it, then it is done" >&2
    exit 1
fi

for folder in "$@"; do
    name=$(basename "$folder")
    previous=
    for copy in "$target/$name".*; do
        if [[ -d $copy && $copy > $previous ]]; then
            previous=$copy
        fi
    done
    say "copy $folder"
    if [ -n "$previous" ]
    then
        rsync -a --link-dest="$previous" "$folder/" "$target/$name.$(date +%F)/"
    else
        rsync -a "$folder/" "$target/$name.$(date +%F)/"
    fi
    until [ "$(find "$target" -maxdepth 1 -name "$name.*" | wc -l)" -le "$kept" ]; do
        oldest=$(find "$target" -maxdepth 1 -name "$name.*" | sort | head -n 1)
        case $oldest in
            "$target"/*)
                say "remove $oldest"
                rm -rf "$oldest"
                ;;
            *)
                break
                ;;
        esac
    done
done

find "$target" -name '*.log' | while read -r file; do
    if [ ! -s "$file" ]; then
        rm "$file"
    else
        gzip "$file"
    fi
done
