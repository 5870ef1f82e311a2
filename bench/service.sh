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

# archive_log RECORDS: pushes a synthetic log with this number of records as a finished run, and prints the ID of the run.
archive_log() {
    run=$(cat /proc/sys/kernel/random/uuid)
    python3 "$root/bench/make_log.py" "$1" |
        "$runlog" push "$run" - --task "$task" --finish execution_successful >"$work/push.log"
    echo "$run"
}
