// A judge: clickhouse-go by database/sql with a URL and its defaults. Argument: the questions as JSON. Prints one line of
// JSON.
package main

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"time"

	_ "github.com/ClickHouse/clickhouse-go/v2"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	where := url.URL{
		Scheme: "http",
		User:   url.UserPassword(os.Getenv("JUDGE_USER"), os.Getenv("JUDGE_PASSWORD")),
		Host:   os.Getenv("JUDGE_HOST") + ":" + os.Getenv("JUDGE_PORT"),
		Path:   os.Getenv("JUDGE_DATABASE"),
	}
	db, err := sql.Open("clickhouse", where.String())
	check(err)
	check(db.Ping())
	questions := map[string]string{}
	check(json.Unmarshal([]byte(os.Args[1]), &questions))
	found := map[string]any{}
	for name, query := range questions {
		rows, err := db.Query(query)
		check(err)
		values := []any{}
		for rows.Next() {
			var value any
			check(rows.Scan(&value))
			if at, is := value.(time.Time); is {
				value = at.UTC().Format(time.RFC3339)
			}
			values = append(values, value)
		}
		check(rows.Err())
		found[name] = values[0]
		if name == "replicas" {
			found[name] = values
		}
	}
	var bound uint64
	check(db.QueryRow("SELECT count() FROM system.tables WHERE database = ? AND name = ?",
		os.Getenv("JUDGE_DATABASE"), "requests").Scan(&bound))
	found["bound"] = bound
	_, err = db.Exec("DROP TABLE request_windows")
	found["refused"] = fmt.Sprint(err)
	said, err := json.Marshal(found)
	check(err)
	fmt.Println(string(said))
}
