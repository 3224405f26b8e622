// A judge: clickhouse-go over HTTP, with and without LZ4, against the server under test.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	method := clickhouse.CompressionLZ4
	if os.Args[2] == "none" {
		method = clickhouse.CompressionNone
	} else if os.Args[2] == "zstd" {
		method = clickhouse.CompressionZSTD
	} else if os.Args[2] == "gzip" {
		method = clickhouse.CompressionGZIP
	}
	db, err := clickhouse.Open(&clickhouse.Options{
		Protocol:    clickhouse.HTTP,
		Addr:        []string{os.Args[1]},
		Auth:        clickhouse.Auth{Username: os.Getenv("JUDGE_USER"), Password: os.Getenv("JUDGE_PASSWORD")},
		Compression: &clickhouse.Compression{Method: method, Level: 3},
	})
	check(err)
	ctx := context.Background()
	check(db.Ping(ctx))
	table := os.Args[3]
	check(db.Exec(ctx, "CREATE TABLE "+table+" (a UInt64, b String, t DateTime64(3)) ENGINE = MergeTree ORDER BY a"))
	batch, err := db.PrepareBatch(ctx, "INSERT INTO "+table)
	check(err)
	at := time.UnixMilli(1700000000123).UTC()
	for i := range 100000 {
		check(batch.Append(uint64(i), fmt.Sprintf("row %d", i), at))
	}
	check(batch.Send())
	var count, sum uint64
	check(db.QueryRow(ctx, "SELECT count(), sum(a) FROM "+table+" WHERE startsWith(b, 'row ')").Scan(&count, &sum))
	rows, err := db.Query(ctx, "SELECT a, b, t FROM "+table+" ORDER BY a")
	check(err)
	seen := 0
	for rows.Next() {
		var a uint64
		var b string
		var t time.Time
		check(rows.Scan(&a, &b, &t))
		if a != uint64(seen) || b != fmt.Sprintf("row %d", seen) || !t.Equal(at) {
			check(fmt.Errorf("row %d is %d %q %s", seen, a, b, t))
		}
		seen++
	}
	check(rows.Err())
	fmt.Println(count, sum, seen)

	check(db.Exec(ctx, "ALTER TABLE "+table+" ADD CONSTRAINT small CHECK a < 5"))
	batch, err = db.PrepareBatch(ctx, "INSERT INTO "+table)
	check(err)
	check(batch.Append(uint64(9), "refused", at))
	fmt.Println("refused:", batch.Send() != nil)
	_, err = db.Query(ctx, "SELECT throwIf(number = 3) FROM numbers(10)")
	fmt.Println("error:", err != nil)
	check(db.Exec(ctx, "DROP TABLE "+table+" SYNC"))
}
