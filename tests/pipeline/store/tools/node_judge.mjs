// ClickHouse's client for Node with its defaults. Arguments: the questions as JSON. Prints one line of JSON.
import { createClient } from "@clickhouse/client";

const { JUDGE_HOST, JUDGE_PORT, JUDGE_DATABASE, JUDGE_USER, JUDGE_PASSWORD } = process.env;
const client = createClient({
  url: `http://${JUDGE_HOST}:${JUDGE_PORT}`,
  username: JUDGE_USER,
  password: JUDGE_PASSWORD,
  database: JUDGE_DATABASE,
});
const found = { ping: (await client.ping()).success };
for (const [name, query] of Object.entries(JSON.parse(process.argv[2]))) {
  const answer = await client.query({ query, format: "JSONCompactEachRow" });
  const values = (await answer.json()).map(([value]) => value);
  if (name === "replicas") found[name] = values;
  else if (name === "first_minute") found[name] = values[0].replace(" ", "T") + "Z";
  else found[name] = Number(values[0]);
}
const views = await client.query({
  query: "SELECT name, comment FROM system.tables WHERE database = {database:String}",
  query_params: { database: JUDGE_DATABASE },
});
found.tables = Object.fromEntries((await views.json()).data.map(({ name, comment }) => [name, comment]));
// A stream of many rows, and an error that names what is wrong.
let streamed = 0;
const stream = (await client.query({ query: "SELECT number FROM numbers(200000)", format: "JSONEachRow" })).stream();
for await (const rows of stream) streamed += rows.length;
found.streamed = streamed;
try {
  await client.command({ query: "INSERT INTO request_windows (namespace) VALUES ('x')" });
} catch (error) {
  found.refused = `${error.type}: ${error.message}`;
}
await client.close();
console.log(JSON.stringify(found));
