// Reads an archive with pg for Node. URL names the service. See `run`.
const assert = require("node:assert");
const { Client } = require("pg");
const Cursor = require("pg-cursor");

async function main() {
    const client = new Client({ connectionString: process.env.URL });
    await client.connect();
    const { rows } = await client.query("SELECT severity, count(*) AS n FROM records WHERE arrival < $1 GROUP BY 1 ORDER BY 1", [100]);
    assert.deepStrictEqual(rows, [{ severity: "ERROR", n: "10" }, { severity: "INFO", n: "90" }]);
    const first = await client.query({ name: "first", text: "SELECT time FROM records WHERE arrival = $1", values: [7] });
    assert.strictEqual(first.rows[0].time.toISOString(), "1970-01-01T00:00:07.000Z");
    const cursor = client.query(new Cursor("SELECT arrival FROM records ORDER BY arrival"));
    let read = 0;
    for (let part = await cursor.read(100); part.length > 0; part = await cursor.read(100)) {
        read += part.length;
    }
    assert.strictEqual(read, 3000);
    await cursor.close();
    await assert.rejects(client.query("UPDATE runs SET status = 'x'"), { code: "25006" });
    await assert.rejects(client.query("SELECT nope FROM runs"), { code: "42703", position: "8" });
    await client.end();
}

main().catch((error) => {
    console.error(error);
    process.exit(1);
});
