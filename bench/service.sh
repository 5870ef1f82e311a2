# Sourced by the benchmarks: builds Runlog unless RUNLOG names an existing binary, starts it with an empty archive on a
# free port, and creates a workspace and a task. Sets $runlog, $work (a temporary folder), $RUNLOG_API_URL, $RUNLOG_TOKEN
# and $task. When the benchmark exits, the service is stopped and $work is removed.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
if [ -z "${RUNLOG:-}" ]; then
    cargo build --release --locked --manifest-path "$root/Cargo.toml"
fi
runlog=${RUNLOG:-${CARGO_TARGET_DIR:-$root/target}/release/runlog}
work=$(mktemp -d)
touch "$work/serve.log"
"$runlog" serve --listen 127.0.0.1:0 --data "$work/data" --settle 0s --requests-per-second 0 2>"$work/serve.log" &
service=$!
trap 'kill $service; wait $service || true; rm -rf "$work"' EXIT
until RUNLOG_API_URL=$(sed -n 's/.*listens on \(http:[^,]*\),.*/\1/p' "$work/serve.log") && [ -n "$RUNLOG_API_URL" ]; do
    kill -0 $service || { cat "$work/serve.log" >&2; exit 1; }
    sleep 0.1
done
RUNLOG_TOKEN=$(cat "$work/data/admin.token")
RUNLOG_PID=$service
export RUNLOG_API_URL RUNLOG_TOKEN RUNLOG_PID
environment=$("$runlog" admin environments create bench --json | jq -r .id)
workspace=$("$runlog" admin workspaces create bench --environment "$environment" --json | jq -r .id)
task=$("$runlog" admin tasks create bench --workspace "$workspace" --json | jq -r .executable)

# write_log RECORDS: prints a log: by default, a realistic one (bench/logs); with LOG=repetitive, one that compresses forty-fold.
write_log() {
    case ${LOG:-realistic} in
        realistic) python3 "$root/bench/logs/generate.py" --records "$1" ;;
        repetitive) python3 "$root/bench/make_log.py" "$1" ;;
        *) echo "LOG is realistic or repetitive" >&2; return 1 ;;
    esac
}

# archive_log FILE: pushes a log as a finished run, and prints the ID of the run.
archive_log() {
    run=$(cat /proc/sys/kernel/random/uuid)
    "$runlog" push "$run" "$1" --task "$task" --finish execution_successful >>"$work/push.log"
    echo "$run"
}

# last_second FILE: prints the second in which a log ends, since 1970. Some records of a log are late.
last_second() {
    echo $(($(tail -n 1000 "$1" | jq .logTimestamp | sort -n | tail -1) / 1000))
}
