// ClickHouse's client for Rust with its defaults (LZ4, types checked). Argument: the questions as JSON. Prints one line
// of JSON.
use clickhouse::Client;
use serde_json::{json, Map, Value};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let told = |name: &str| std::env::var(name).expect("a login");
    let client = Client::default()
        .with_url(format!("http://{}:{}", told("JUDGE_HOST"), told("JUDGE_PORT")))
        .with_user(told("JUDGE_USER"))
        .with_password(told("JUDGE_PASSWORD"))
        .with_database(told("JUDGE_DATABASE"));
    let questions: Map<String, Value> = serde_json::from_str(&std::env::args().nth(1).expect("questions"))?;
    let mut found = Map::new();
    for (name, sql) in &questions {
        let query = client.query(sql.as_str().expect("SQL"));
        let value = match name.as_str() {
            "replicas" => json!(query.fetch_all::<String>().await?),
            "p95_seconds" | "cpu_percent" => json!(query.fetch_one::<f64>().await?),
            "first_minute" => json!(query.fetch_one::<u32>().await?),
            _ => json!(query.fetch_one::<u64>().await?),
        };
        found.insert(name.clone(), value);
    }
    let bound = client
        .query("SELECT count() FROM system.tables WHERE database = ? AND name = ?")
        .bind(told("JUDGE_DATABASE"))
        .bind("requests")
        .fetch_one::<u64>()
        .await?;
    found.insert("bound".into(), json!(bound));
    let refused = client.query("DROP TABLE request_windows").execute().await;
    found.insert("refused".into(), json!(refused.err().map(|error| error.to_string())));
    println!("{}", Value::Object(found));
    Ok(())
}
