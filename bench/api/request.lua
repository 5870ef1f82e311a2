-- The requests that wrk sends, as set in the environment. With BENCH_FRESH, each has a different end time.
local number = 0

function setup(thread)
    number = number + 1
    thread:set("seed", number)
end

function init()
    headers = { ["Authorization"] = "Bearer " .. os.getenv("RUNLOG_TOKEN") }
    sent = 0
end

function request()
    local path = os.getenv("BENCH_PATH")
    if os.getenv("BENCH_FRESH") then
        sent = sent + 1
        -- A time in the 22nd century that is different for each request of each thread.
        local ms = (os.time() % 1000) * 86400 + sent * 4 + seed
        path = path .. string.format("?endTime=21%02d-01-01T%02d:%02d:%02d.%03dZ", math.floor(ms / 86400000) % 100,
            math.floor(ms / 3600000) % 24, math.floor(ms / 60000) % 60, math.floor(ms / 1000) % 60, ms % 1000)
    end
    return wrk.format(os.getenv("BENCH_METHOD"), path, headers, os.getenv("BENCH_BODY"))
end

function done(summary, latency, requests)
    local errors = summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout
    io.write(string.format("RESULT %f %f %f %d\n", summary.requests / (summary.duration / 1e6),
        latency:percentile(50) / 1000, latency:percentile(99) / 1000, errors))
end
